//! The only place where a value meets syntax.
//!
//! Templates cannot print a plain string: each value passes one of these
//! filters, named for the syntax it is put into, and the filter returns a
//! string marked as safe. A forgotten filter is an error of the template, not
//! a hole in a node.

use std::fmt::Write as _;

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

/// A value that a syntax has no way to express.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{syntax} cannot hold {what}")]
pub struct Unquotable {
    syntax: &'static str,
    what: &'static str,
}

const fn unquotable(syntax: &'static str, what: &'static str) -> Unquotable {
    Unquotable { syntax, what }
}

/// One word of a POSIX shell, in single quotes unless it plainly needs none.
pub fn sh(text: &str) -> Result<String, Unquotable> {
    if text.contains('\0') {
        return Err(unquotable("a shell word", "a NUL"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A double-quoted YAML scalar, valid in YAML 1.1 and 1.2 for every string.
///
/// ASCII and letters stay legible. The rest is escaped: YAML forbids some of
/// it, folds some of it (NEL, U+2028), and a BOM changes meaning by position.
#[must_use]
pub fn yaml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(c),
            c if u32::from(c) <= 0xff => push(&mut out, format_args!("\\x{:02X}", u32::from(c))),
            c if u32::from(c) > 0xffff => push(&mut out, format_args!("\\U{:08X}", u32::from(c))),
            c if c.is_alphanumeric() => out.push(c),
            c => push(&mut out, format_args!("\\u{:04X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// A YAML literal block (`|`) whose lines are indented by `indent` spaces;
/// falls back to [`yaml`] for text that a block would change.
#[must_use]
pub fn yaml_block(text: &str, indent: usize) -> String {
    let legible = |c: char| c == '\n' || (' '..='~').contains(&c);
    let stays = text.ends_with('\n') && !text.ends_with("\n\n") && !text.starts_with([' ', '\n']);
    if !stays || !text.chars().all(legible) {
        return yaml(text);
    }
    let mut out = String::from("|");
    for line in text.lines() {
        out.push('\n');
        if !line.is_empty() {
            push(&mut out, format_args!("{:indent$}{line}", ""));
        }
    }
    out
}

/// A string value of a `NetworkManager` keyfile.
pub fn keyfile(text: &str) -> Result<String, Unquotable> {
    if text.contains('\0') {
        return Err(unquotable("a keyfile", "a NUL"));
    }
    // GKeyFile drops white space around a value; inside it may stand as it is.
    let inner = text.trim_matches(' ');
    let (lead, tail) = match inner.is_empty() {
        true => (text.len(), 0),
        false => {
            let lead = text.len() - text.trim_start_matches(' ').len();
            (lead, text.len() - lead - inner.len())
        }
    };
    let mut out = "\\s".repeat(lead);
    for c in inner.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push_str(&"\\s".repeat(tail));
    Ok(out)
}

/// An SSID for a `NetworkManager` keyfile: as text where that is unambiguous,
/// else as a list of decimal bytes.
#[must_use]
pub fn keyfile_ssid(ssid: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " _.-".contains(c);
    // A name of digits alone would be read as such a list.
    let letters = ssid.chars().any(|c| !c.is_ascii_digit() && c != ' ');
    if letters && ssid.chars().all(plain) && ssid.trim() == ssid {
        return ssid.to_owned();
    }
    let mut out = String::new();
    for byte in ssid.bytes() {
        push(&mut out, format_args!("{byte};"));
    }
    out
}

/// Bytes for `wpa_supplicant.conf`: bare hex, which needs no quoting.
#[must_use]
pub fn wpa_hex(text: &str) -> String {
    hex::encode(text)
}

/// A pre-shared key for `wpa_supplicant.conf`: bare if it is the derived key of
/// 64 hex digits, else a quoted passphrase.
pub fn wpa_psk(key: &str) -> Result<String, Unquotable> {
    if key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(key.to_owned());
    }
    // wpa_supplicant reads up to the last quote of the line and knows no escapes.
    if key.chars().any(char::is_control) {
        return Err(unquotable("wpa_supplicant.conf", "control characters"));
    }
    Ok(format!("\"{key}\""))
}

/// A user name in a sudoers rule.
pub fn sudoers(name: &str) -> Result<String, Unquotable> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(unquotable("sudoers", "a user name with such characters"));
    }
    Ok(name.to_owned())
}

/// Text that is already base64, broken into lines or not.
pub fn base64_text(text: &str) -> Result<String, Unquotable> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "+/=\n".contains(c);
    if !text.chars().all(legal) {
        return Err(unquotable("base64", "other characters"));
    }
    Ok(text.to_owned())
}

/// One line: for places that know neither quotes nor escapes, such as a
/// comment, an address or a `name:hash` file.
pub fn line(text: &str) -> Result<String, Unquotable> {
    if text.chars().any(char::is_control) {
        return Err(unquotable("a single line", "control characters"));
    }
    Ok(text.to_owned())
}

/// Text of an HTML page or an XML file, or the inside of a double-quoted
/// attribute there.
///
/// White space that a parser would fold into a space or a line feed is
/// escaped; a character that XML 1.0 cannot hold at all becomes U+FFFD, so that
/// the rest can still be read.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => push(&mut out, format_args!("&#{};", u32::from(c))),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `write!` to a `String`, which cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}

/// Marks what a filter returned as fit to be printed.
fn safe(result: Result<String, Unquotable>) -> Result<Value, Error> {
    result.map(Value::from_safe_string).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, error.to_string()).with_source(error)
    })
}

/// Teaches `env` the filters, and to refuse whatever passed none of them.
pub(super) fn install(env: &mut Environment<'static>) {
    // By default a template named `.yaml` or `.html` would escape in its own way.
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_formatter(|out, _state, value| {
        if !value.is_safe() && !value.is_number() {
            return Err(Error::new(
                ErrorKind::BadEscape,
                "a value is printed without a filter that quotes it \
                 (|sh, |yaml, |keyfile, |html, |line, …)",
            ));
        }
        Ok(write!(out, "{value}")?)
    });
    env.add_filter("sh", |text: &str| safe(sh(text)));
    env.add_filter("yaml", |text: &str| safe(Ok(yaml(text))));
    env.add_filter("yaml_block", |text: &str, indent: usize| {
        safe(Ok(yaml_block(text, indent)))
    });
    env.add_filter("keyfile", |text: &str| safe(keyfile(text)));
    env.add_filter("keyfile_ssid", |text: &str| safe(Ok(keyfile_ssid(text))));
    env.add_filter("wpa_hex", |text: &str| safe(Ok(wpa_hex(text))));
    env.add_filter("wpa_psk", |text: &str| safe(wpa_psk(text)));
    env.add_filter("sudoers", |text: &str| safe(sudoers(text)));
    env.add_filter("base64_text", |text: &str| safe(base64_text(text)));
    env.add_filter("html", |text: &str| safe(Ok(html(text))));
    env.add_filter("line", |text: &str| safe(line(text)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What XML cannot hold at all is replaced; all else comes back.
        #[test]
        fn any_text_comes_back_from_text_and_attribute(text in any::<String>(), controls in "[\\x00-\\x20\"'<>&\u{fffe}\u{ffff}]{0,8}") {
            let text = text + &controls;
            let quoted = html(&text);
            let xml = format!("<a b=\"{quoted}\">{quoted}</a>");
            let tree = roxmltree::Document::parse(&xml).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let held: String = text
                .chars()
                .map(|c| match c {
                    '\t' | '\n' | '\r' => c,
                    '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
                    c => c,
                })
                .collect();
            prop_assert_eq!(tree.root_element().attribute("b"), Some(held.as_str()));
            prop_assert_eq!(tree.root_element().text().unwrap_or_default(), held);
        }
    }

    #[test]
    fn markup_is_text_in_html() {
        assert_eq!(
            html("<b a='1' b=\"&\">\n\0"),
            "&lt;b a=&#39;1&#39; b=&quot;&amp;&quot;&gt;&#10;\u{fffd}"
        );
    }
}
