//! A document as GitHub reads it: blocks of code and the comments that direct
//! them, links, anchors, and words in code.

use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A block of code.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) language: String,
    pub(super) text: String,
    /// Where its first line of code is in the document.
    pub(super) line: usize,
    /// From the comments before it: `<!-- NAME: TEXT -->`.
    pub(super) directives: Vec<(String, String)>,
}

impl Block {
    /// What the first directive of this name says.
    pub(super) fn directive(&self, name: &str) -> Option<&str> {
        let is_it = |entry: &&(String, String)| entry.0 == name;
        self.directives.iter().find(is_it).map(|(_, text)| &**text)
    }
}

/// A document, read.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Its path from the top of the repository on.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) blocks: Vec<Block>,
    /// Where links and pictures lead.
    pub(super) links: Vec<String>,
    /// What links to parts of it may name.
    pub(super) anchors: Vec<String>,
    /// Code within text, with its line.
    pub(super) code: Vec<(usize, String)>,
    /// What cannot be understood.
    pub(super) problems: Vec<String>,
    heading: Option<String>,
    comment: String,
    is_in_block: bool,
    /// Those that no block has come for yet.
    directives: Vec<(String, String)>,
}

impl Document {
    pub(super) fn read(root: &Path, path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).expect("a document");
        let name = path.strip_prefix(root).expect("a document of ours");
        let mut document = Self {
            name: name.to_str().expect("UTF-8").to_owned(),
            path,
            ..Self::default()
        };
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            document.take(event, line);
        }
        document
    }

    fn take(&mut self, event: Event<'_>, line: usize) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => self.open(&kind, line),
            Event::End(TagEnd::CodeBlock) => self.is_in_block = false,
            Event::Html(html) => self.comment.push_str(&html),
            Event::End(TagEnd::HtmlBlock) => self.direct(line),
            Event::Start(Tag::Heading { .. }) => self.heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => self.anchor(),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                self.links.push(dest_url.to_string());
            }
            Event::Start(Tag::Paragraph) if !self.directives.is_empty() => {
                let problem = format!("{line}: a directive stands before text, not before code");
                self.problems.push(problem);
                self.directives.clear();
            }
            Event::Code(code) => {
                self.write(&code);
                self.code.push((line, code.to_string()));
            }
            Event::Text(text) => self.write(&text),
            _ => {}
        }
    }

    fn write(&mut self, text: &str) {
        if let Some(heading) = &mut self.heading {
            heading.push_str(text);
        } else if let (true, Some(block)) = (self.is_in_block, self.blocks.last_mut()) {
            block.text.push_str(text);
        }
    }

    fn open(&mut self, kind: &CodeBlockKind<'_>, line: usize) {
        let (language, line) = match kind {
            CodeBlockKind::Fenced(language) => (language.to_string(), line + 1),
            CodeBlockKind::Indented => ("indented".to_owned(), line),
        };
        self.is_in_block = true;
        self.blocks.push(Block {
            language,
            line,
            directives: std::mem::take(&mut self.directives),
            ..Block::default()
        });
    }

    fn direct(&mut self, line: usize) {
        let comment = std::mem::take(&mut self.comment);
        let text = comment.trim();
        let inside = text
            .strip_prefix("<!--")
            .and_then(|text| text.strip_suffix("-->"));
        // HTML that is shown is no concern of ours.
        let Some(inside) = inside else { return };
        match inside.trim().split_once(':') {
            Some((name, text)) => {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                self.directives.push((name.trim().to_owned(), text));
            }
            None => self
                .problems
                .push(format!("{line}: `{text}` directs nothing")),
        }
    }

    /// As GitHub names what a heading can be reached by.
    fn anchor(&mut self) {
        let heading = self.heading.take().unwrap_or_default().to_lowercase();
        let keeps = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let slug: String = heading.chars().filter(keeps).collect();
        let slug = slug.replace(' ', "-");
        let mut anchor = slug.clone();
        for more in 1.. {
            if !self.anchors.contains(&anchor) {
                break;
            }
            anchor = format!("{slug}-{more}");
        }
        self.anchors.push(anchor);
    }
}
