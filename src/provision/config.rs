//! The edit of `config.txt`: lines appended for all boards.

/// A line that would not stay one line of `config.txt`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.txt line `{}` holds a line break or another control character", .0.escape_debug())]
pub struct ConfigError(pub String);

/// Stands above our lines.
const MARKER: &str = "# Added by cardmint";

/// Appends `lines` to `base` under `[all]`; `None` if there is nothing to add.
///
/// What stands in `base` is not touched, whatever its line ends.
pub fn edit(base: &str, lines: &[String]) -> Result<Option<String>, ConfigError> {
    if lines.is_empty() {
        return Ok(None);
    }
    if let Some(bad) = lines
        .iter()
        .find(|line| line.chars().any(|c| c.is_control() && c != '\t'))
    {
        return Err(ConfigError(bad.clone()));
    }
    let end = if base.contains("\r\n") { "\r\n" } else { "\n" };
    let mut text = base.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(end);
    }
    let mut push = |line: &str| {
        text.push_str(line);
        text.push_str(end);
    };
    push(MARKER);
    // A line under `[pi4]` counts for that board only. With no filter at all,
    // a file is read as if it began with `[all]`.
    if base
        .lines()
        .filter_map(filter)
        .next_back()
        .is_some_and(|last| last != "[all]")
    {
        push("[all]");
    }
    for line in lines {
        push(line);
    }
    // Whoever appends next expects to write for all boards.
    if lines
        .iter()
        .filter_map(|line| filter(line))
        .next_back()
        .is_some_and(|last| last != "[all]")
    {
        push("[all]");
    }
    Ok(Some(text))
}

/// The section filter that `line` is, if it is one.
fn filter(line: &str) -> Option<&str> {
    let line = line.trim();
    (line.starts_with('[') && line.ends_with(']')).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(list: &[&str]) -> Vec<String> {
        list.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn nothing_to_add_changes_nothing() {
        assert_eq!(edit("a=1\n", &[]), Ok(None));
    }

    #[test]
    fn leaves_another_section_before_adding() {
        let text = edit("a=1\n[pi4]\nb=1", &lines(&["c=1"])).unwrap().unwrap();
        assert_eq!(text, "a=1\n[pi4]\nb=1\n# Added by cardmint\n[all]\nc=1\n");
    }

    #[test]
    fn stays_in_an_all_section() {
        let text = edit("[pi4]\nb=1\n[all]\n", &lines(&["c=1"]))
            .unwrap()
            .unwrap();
        assert_eq!(text, "[pi4]\nb=1\n[all]\n# Added by cardmint\nc=1\n");
    }

    #[test]
    fn a_filter_of_the_user_ends_with_our_lines() {
        let text = edit("", &lines(&["[pi5]", "c=1"])).unwrap().unwrap();
        assert_eq!(text, "# Added by cardmint\n[pi5]\nc=1\n[all]\n");
    }

    #[test]
    fn line_ends_of_the_file_are_kept() {
        let text = edit("a=1\r\n[cm4]\r\nb", &lines(&["c=1"]))
            .unwrap()
            .unwrap();
        assert_eq!(
            text,
            "a=1\r\n[cm4]\r\nb\r\n# Added by cardmint\r\n[all]\r\nc=1\r\n"
        );
    }

    #[test]
    fn a_line_stays_a_line() {
        assert!(edit("", &lines(&["a\nb"])).is_err());
    }
}
