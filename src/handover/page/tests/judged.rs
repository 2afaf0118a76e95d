//! Outside judges: a browser that draws and prints, and a reader of QR codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::fixtures::{bare, long, usual};
use super::written;
use crate::base::testing::has_tools;
use crate::handover::page::Page;

/// Dots per inch of what is printed: what a plain office printer does.
const DPI: u32 = 300;

fn ran(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output.stdout
}

/// A page in a folder of its own.
struct Shown {
    dir: TempDir,
    urls: Vec<String>,
}

impl Shown {
    fn of(page: &Page<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cluster.html"), written(page)).unwrap();
        Self {
            dir,
            urls: page.nodes.iter().map(|node| node.ssh_url()).collect(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn chromium(&self, at: &str, arguments: &[&str]) -> Vec<u8> {
        let profile = tempfile::tempdir().unwrap();
        ran(Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments)
            .arg(format!(
                "file://{}{at}",
                self.path("cluster.html").display()
            ))
            .current_dir(self.dir.path()))
    }

    /// Prints the page, or its part `at`; one grey picture for each sheet.
    fn printed(&self, at: &str) -> Vec<Picture> {
        self.chromium(at, &["--no-pdf-header-footer", "--print-to-pdf=page.pdf"]);
        let sheets = self.path("sheets");
        fs::create_dir(&sheets).unwrap();
        ran(Command::new("pdftoppm")
            .args(["-gray", "-r", &DPI.to_string(), "page.pdf", "sheets/sheet"])
            .current_dir(self.dir.path()));
        let mut files: Vec<_> = fs::read_dir(sheets)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files.iter().map(|file| Picture::read(file)).collect()
    }
}

/// Every QR code that is found in `files`, file by file.
fn scanned(files: &[PathBuf]) -> Vec<String> {
    let mut command = Command::new("zbarimg");
    command.args([
        "--nodbus",
        "--quiet",
        "--raw",
        "-Sdisable",
        "-Sqrcode.enable",
    ]);
    let told = String::from_utf8(ran(command.args(files))).unwrap();
    told.lines().map(str::to_owned).collect()
}

/// A grey picture, a byte for each dot.
struct Picture {
    width: usize,
    height: usize,
    dots: Vec<u8>,
}

impl Picture {
    /// Reads what pdftoppm writes: `P5`, width, height and 255 on three lines.
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
        assert_eq!(parts.next(), Some(&b"P5"[..]));
        let size = std::str::from_utf8(parts.next().unwrap()).unwrap();
        let (width, height) = size.split_once(' ').unwrap();
        assert_eq!(parts.next(), Some(&b"255"[..]));
        Self {
            width: width.parse().unwrap(),
            height: height.parse().unwrap(),
            dots: parts.next().unwrap().to_vec(),
        }
    }

    /// Cuts a piece out; places and sizes are in tenths of a millimetre.
    fn cut(&self, (x, y): (u32, u32), (width, height): (u32, u32)) -> Self {
        let dots = |tenths: u32| (tenths * DPI / 254) as usize;
        let (left, width) = (dots(x), dots(width));
        let rows = self
            .dots
            .chunks(self.width)
            .skip(dots(y))
            .take(dots(height));
        let rows: Vec<&[u8]> = rows.map(|row| &row[left..left + width]).collect();
        Self {
            width,
            height: rows.len(),
            dots: rows.concat(),
        }
    }

    fn write(&self, path: &Path) {
        let mut bytes = format!("P5\n{} {}\n255\n", self.width, self.height).into_bytes();
        bytes.extend(&self.dots);
        fs::write(path, bytes).unwrap();
    }

    fn is_blank(&self) -> bool {
        self.dots.iter().all(|dot| *dot == 255)
    }
}

const TOOLS: [&str; 3] = ["chromium", "zbarimg", "pdftoppm"];

#[test]
fn a_camera_reads_every_label_off_the_screen_in_light_and_dark() {
    if !has_tools(&TOOLS) {
        return;
    }
    let shown = Shown::of(&usual(4));
    for scheme in ["0", "1"] {
        shown.chromium(
            "",
            &[
                &format!("--blink-settings=preferredColorScheme={scheme}"),
                "--window-size=1280,2000",
                "--force-device-scale-factor=2",
                "--screenshot=page.png",
            ],
        );
        let mut found = scanned(&[shown.path("page.png")]);
        found.sort();
        let mut urls = shown.urls.clone();
        urls.sort();
        assert_eq!(found, urls, "color scheme {scheme}");
    }
}

/// Every text of a drawing against the box around it, every line of a label
/// against the label, as this browser and its fonts lay them out.
const MEASURE: &str = "<script>
    const out = [];
    const within = (inner, outer, name) => {
        const [i, o] = [inner.getBoundingClientRect(), outer.getBoundingClientRect()];
        if (i.left < o.left || i.right > o.right || i.top < o.top || i.bottom > o.bottom)
            out.push(name + ': ' + inner.textContent);
    };
    let seen = 0;
    for (const group of document.querySelectorAll('.node > g, .hub'))
        for (const text of group.querySelectorAll('text:not(.hub > .radio)')) {
            const button = text.closest('.button');
            within(text, (button || group).querySelector('rect'), 'drawing');
            seen += 1;
        }
    for (const label of document.querySelectorAll('.label')) {
        for (const line of label.querySelectorAll('svg, .host, .who, .where')) within(line, label, 'label');
        for (const line of label.querySelectorAll('.host, .who'))
            if (line.scrollWidth > line.clientWidth) out.push('label: ' + line.textContent);
        seen += 1;
    }
    document.body.textContent = 'seen ' + seen + ';' + out.join(';') + '.';
</script>";

#[test]
fn no_word_leaves_its_box() {
    if !has_tools(&["chromium"]) {
        return;
    }
    for page in [usual(12), long(), bare()] {
        let shown = Shown::of(&page);
        let html = written(&page).replace("default-src 'none';", "");
        assert!(html.contains("</main>"));
        fs::write(
            shown.path("cluster.html"),
            html.replace("</main>", &format!("</main>{MEASURE}")),
        )
        .unwrap();
        let dom = String::from_utf8(shown.chromium("", &["--window-size=1280,2000", "--dump-dom"]))
            .unwrap();
        let told = dom
            .split("<body>")
            .nth(1)
            .unwrap()
            .split("</body>")
            .next()
            .unwrap();
        let (seen, outside) = told.split_once(';').unwrap();
        let seen: usize = seen.strip_prefix("seen ").unwrap().parse().unwrap();
        assert!(seen > 10 * page.nodes.len(), "only {seen} texts seen");
        assert_eq!(outside.trim_end(), ".");
    }
}

/// The labels alone, cut where the lines say: each is 50 × 20 mm and whole.
#[test]
fn labels_printed_alone_are_cut_and_read() {
    // Neighbours share a line.
    const PITCH: (u32, u32) = (498, 198);
    const MARGIN: u32 = 102;
    const ACROSS: u32 = 3;
    const DOWN: u32 = 13;
    if !has_tools(&TOOLS) {
        return;
    }
    for page in [usual(100), long(), bare()] {
        let shown = Shown::of(&page);
        let sheets = shown.printed("#labels");
        let mut pieces = Vec::new();
        for sheet in &sheets {
            for (row, column) in (0..DOWN).flat_map(|row| (0..ACROSS).map(move |c| (row, c))) {
                let at = (MARGIN + column * PITCH.0, MARGIN + row * PITCH.1);
                let label = sheet.cut(at, (500, 200));
                // Within the lines: the next row's line is here as well.
                if !sheet.cut((at.0 + 10, at.1 + 10), (480, 180)).is_blank() {
                    let path = shown.path(&format!("label-{:04}.pgm", pieces.len()));
                    label.write(&path);
                    pieces.push(path);
                }
            }
        }
        assert_eq!(pieces.len(), page.nodes.len());
        assert_eq!(scanned(&pieces), shown.urls);
    }
}

#[test]
fn the_labels_of_a_page_printed_whole_start_on_a_sheet_of_their_own() {
    if !has_tools(&TOOLS) {
        return;
    }
    let shown = Shown::of(&usual(4));
    let sheets = shown.printed("");
    let (last, others) = sheets.split_last().unwrap();
    let path = shown.path("last.pgm");
    last.write(&path);
    assert_eq!(scanned(&[path]).len(), 4);
    assert!(!others.is_empty());
}
