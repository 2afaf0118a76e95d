//! The pictures in docs/screens: taken at a terminal, and still what it shows.

use std::fs;

use super::session::masked;
use super::stage::{Internet, Stage};
use super::{none, root, terminal};

/// A picture, and how it comes about.
struct Screen {
    name: &'static str,
    stage: &'static str,
    /// Done before, out of sight.
    before: &'static str,
    /// What is typed, as it is shown.
    shown: &'static str,
    /// What is run instead: more flags, for lack of real cards.
    typed: &'static str,
    answers: &'static str,
    code: i32,
}

const FLASH: &str = "cardmint flash raspberrypi0=/dev/sda raspberrypi1=/dev/sdb --allow-fixed";
/// Keys are typed when the terminal is ready for them: before that, it shows them itself.
const YES: &str = r#"[["Type (loop[0-9]+) to", "raw", "\\1\r"], ["Type (loop[0-9]+) to", "", ""],
                      ["Type (loop[0-9]+) to", "raw", "\\1\r"],
                      ["Overwrite these 2 cards", "raw", "y"]]"#;

const SCREENS: [Screen; 6] = [
    Screen {
        name: "demo",
        stage: "empty",
        before: "",
        shown: "cardmint demo",
        typed: "cardmint demo",
        answers: "[]",
        code: 0,
    },
    Screen {
        name: "plan",
        stage: "cluster",
        before: "",
        shown: "cardmint plan",
        typed: "cardmint plan",
        answers: "[]",
        code: 0,
    },
    Screen {
        name: "mistakes",
        stage: "cluster",
        before: "sed -i -e 's/^hostname .*/hostnme  = \"node_{n}\"/' -e 's/count    = 4/count = \"4\"/' \
                 cluster.toml; printf '[node.7]\nboard = \"pi4\"\n' >>cluster.toml",
        shown: "cardmint plan",
        typed: "cardmint plan",
        answers: "[]",
        code: 2,
    },
    Screen {
        name: "flash",
        stage: "cluster cards",
        before: "",
        shown: "cardmint flash raspberrypi0=/dev/sda raspberrypi1=/dev/sdb",
        typed: FLASH,
        answers: YES,
        code: 0,
    },
    Screen {
        name: "replace",
        stage: "cluster flashed card",
        before: "",
        shown: "cardmint replace raspberrypi2 --to /dev/sda",
        typed: "cardmint replace raspberrypi2 --to /dev/sda --allow-fixed",
        answers: r#"[["Type (loop[0-9]+) to", "raw", "\\1\r"], ["Overwrite", "raw", "y"]]"#,
        code: 0,
    },
    Screen {
        name: "status",
        stage: "nodes",
        before: "",
        shown: "cardmint status",
        typed: "cardmint status",
        answers: "[]",
        code: 0,
    },
];

#[test]
fn pictures_are_of_what_is_shown() {
    let (internet, mut problems) = (Internet::new(), Vec::new());
    for screen in &SCREENS {
        match picture(screen, &internet) {
            Some(Ok(picture)) => problems.extend(compare(screen, &picture)),
            Some(Err(problem)) => problems.push(format!("{}: {problem}", screen.name)),
            None => eprintln!("skipped: the picture {}", screen.name),
        }
    }
    none(&problems);
}

/// `None` where nobody can take it.
fn picture(screen: &Screen, internet: &Internet) -> Option<Result<String, String>> {
    let mut stage = Stage::set(internet, screen.stage)?;
    if !stage.has_devices() {
        return None;
    }
    if !screen.before.is_empty() {
        stage.run(screen.before).expect(0);
    }
    let size = format!("{}x{}", terminal::COLUMNS, terminal::ROWS);
    let run = stage.run_at_terminal(screen.typed, screen.answers, Some(&size));
    if run.code != screen.code {
        return Some(Err(format!("exits with {}:\n{}", run.code, run.stdout)));
    }
    let prompt = format!(
        "\u{1b}[90m$\u{1b}[0m \u{1b}[1m{}\u{1b}[0m\r\n",
        screen.shown
    );
    Some(Ok(terminal::draw(&(prompt + &run.stdout))))
}

/// The picture that is kept differs from a new one in sizes and times at most.
fn compare(screen: &Screen, picture: &str) -> Option<String> {
    let path = root().join(format!("docs/screens/{}.svg", screen.name));
    if std::env::var_os("CARDMINT_SCREENS").is_some_and(|it| it == "new") {
        fs::create_dir_all(path.parent()?).expect("a directory");
        fs::write(path, picture).expect("a picture");
        return None;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let (kept, new) = (masked(&kept), masked(picture));
    let differs = kept
        .lines()
        .zip(new.lines())
        .find(|(kept, new)| kept != new);
    let same_length = kept.lines().count() == new.lines().count();
    match differs {
        None if same_length => None,
        differs => Some(format!(
            "docs/screens/{}.svg is of another screen; CARDMINT_SCREENS=new makes it anew\n\
             {differs:?}",
            screen.name
        )),
    }
}
