//! Whenever a command is killed, with all its children: what has its name is whole, the
//! next command works, and the same command once more leaves what one that was not
//! killed leaves, and nothing besides.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{BASE, Dice, cases, sweep};
use crate::harness::{Run, Scratch, base, tool};
use crate::images::{FILE, PATH, Publisher};
use crate::server::{Answer, Content};

/// Files with their contents.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// Starts a command as a group of its own.
fn start(mut command: Command) -> Child {
    let command = command.process_group(0);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().expect("the binary runs")
}

/// Kills what was started, and its children.
fn kill(mut child: Child) {
    // Already over, perhaps; not waited for, so that the number is still its own.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    child.wait().expect("an end");
}

/// A moment within a run that takes as long as `whole`, or shortly after.
fn moment(case: u64, whole: Duration) -> Duration {
    let part = u32::try_from(Dice::of(case).below(1100)).expect("small");
    whole * part / 1000
}

fn timed(run: impl FnOnce() -> Run) -> Duration {
    let start = Instant::now();
    run().expect(0);
    start.elapsed()
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

/// Every file with a final name is as it is after a complete run; the record has
/// nothing but what that has.
#[track_caller]
fn assert_whole(found: &Files, wanted: &Files) {
    for (path, bytes) in found.iter().filter(|(path, _)| !is_hidden(path)) {
        let name = path.display();
        let of_wanted = wanted.iter().find(|(other, _)| other == path);
        let (_, whole) = of_wanted.unwrap_or_else(|| panic!("{name} has no business there"));
        if path.ends_with("cluster.lock") {
            assert_record(bytes, whole);
        } else {
            assert!(bytes == whole, "{name} is half");
        }
    }
}

#[track_caller]
fn assert_record(found: &[u8], whole: &[u8]) {
    let parse = |bytes: &[u8]| -> toml::Table {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        text.parse().expect("TOML")
    };
    let (found, whole) = (parse(found), parse(whole));
    for (number, node) in found
        .get("node")
        .and_then(|all| all.as_table())
        .into_iter()
        .flatten()
    {
        assert_eq!(Some(node), whole["node"].get(number));
    }
}

/// Names of files, of which none is temporary.
#[track_caller]
fn names(files: &Files) -> Vec<PathBuf> {
    let names: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    for path in &names {
        assert!(!is_hidden(path), "{} is left", path.display());
    }
    names
}

/// Kills a command that works on a cluster whose outcome depends on nothing but its
/// inputs. `undo` says what is removed before each time.
fn killed(scratch: &Scratch, commands: &[&[&str]], undo: &[&str]) {
    let run = || {
        let last = commands.last().expect("a command");
        for command in commands {
            scratch.cardmint(command).expect(0);
        }
        scratch.cardmint(last)
    };
    let whole = timed(run);
    let (wanted, cache) = (scratch.snapshot("c"), names(&scratch.snapshot("cache")));
    let whole = whole.min(timed(|| {
        remove(scratch, undo);
        run()
    }));
    assert!(scratch.snapshot("c") == wanted, "no two runs are alike");
    names(&wanted);
    sweep(cases(4, 10), |case, say| {
        remove(scratch, undo);
        if case % 2 == 0 {
            remove(scratch, &["cache/cardmint"]);
        }
        let after = moment(case, whole);
        say(&format_args!("{commands:?} after {after:?} of {whole:?}"));
        let children: Vec<Child> = commands
            .iter()
            .map(|command| start(scratch.command(command)))
            .collect();
        thread::sleep(after);
        children.into_iter().for_each(kill);
        assert_whole(&scratch.snapshot("c"), &wanted);
        scratch.cardmint(&["plan"]).expect(0);
        for (path, _) in scratch.snapshot("c/images") {
            let is_image = [".img", ".xz", ".zst"].iter().any(|end| {
                let name = path.to_string_lossy();
                name.ends_with(end)
            });
            if is_image && !is_hidden(&path) {
                let node = if path.to_string_lossy().contains("raspberrypi0") {
                    "0"
                } else {
                    "1"
                };
                let path = path.to_str().expect("UTF-8");
                scratch.cardmint(&["verify", node, path]).expect(0);
            }
        }
        for command in commands {
            scratch.cardmint(command).expect(0);
        }
        let found = scratch.snapshot("c");
        assert_eq!(names(&found), names(&wanted));
        assert!(found == wanted, "the next run makes something else");
        assert_eq!(names(&scratch.snapshot("cache")), cache);
    });
}

fn remove(scratch: &Scratch, names: &[&str]) {
    for name in names {
        let path = scratch.path(name);
        if path.is_dir() {
            fs::remove_dir_all(&path).expect("a directory");
        } else if path.exists() {
            fs::remove_file(&path).expect("a file");
        }
    }
    // The snapshots look into it.
    fs::create_dir_all(scratch.path("c/images")).expect("a directory");
}

const ALL: [&str; 3] = ["c/images", "c/handover", "c/cluster.lock"];

#[test]
fn a_killed_build_leaves_whole_images() {
    let scratch = Scratch::cluster(BASE, |text| text);
    killed(&scratch, &[&["build", "-q"]], &ALL);
}

#[test]
fn killed_builds_of_one_cluster_leave_a_whole_record() {
    let scratch = Scratch::cluster(BASE, |text| text);
    let one = ["build", "-q", "--nodes", "0"];
    let other = ["build", "-q", "--nodes", "1"];
    killed(&scratch, &[&one, &other], &ALL);
}

#[test]
fn a_killed_build_of_compressed_images_leaves_them_and_the_cache_whole() {
    let scratch = Scratch::new();
    let packed = scratch.path("base.img.gz");
    let script = format!(
        "gzip -1 -c '{}' > '{}'",
        base(BASE).display(),
        packed.display()
    );
    tool("bash", &["-c", &script]).expect(0);
    scratch.init(&packed, 2);
    let build = ["build", "-q", "--format", "img.xz", "--level", "0"];
    killed(&scratch, &[&build], &ALL);
}

#[test]
fn a_killed_replacement_of_images_leaves_the_old_ones_or_the_new() {
    let scratch = Scratch::cluster(BASE, |text| text);
    let manifest = scratch.path("c/cluster.toml");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let texts = [text.clone(), text + "\n[boot]\ncmdline = [\"quiet\"]\n"];
    let build = ["build", "-q", "--force", "--sums"];
    let made = texts.clone().map(|text| {
        fs::write(&manifest, text).expect("a manifest");
        scratch.cardmint(&build).expect(0);
        scratch.snapshot("c/images")
    });
    let whole = timed(|| {
        fs::write(&manifest, &texts[0]).expect("a manifest");
        scratch.cardmint(&build)
    });
    sweep(cases(4, 10), |case, say| {
        let after = moment(case, whole);
        say(&format_args!("after {after:?} of {whole:?}"));
        let new = usize::from(case % 2 == 0);
        fs::write(&manifest, &texts[new]).expect("a manifest");
        let child = start(scratch.command(&build));
        thread::sleep(after);
        kill(child);
        let found = scratch.snapshot("c/images");
        let of = |files: &Files, path: &Path| {
            let found = files.iter().find(|(other, _)| other == path);
            found.map(|(_, bytes)| bytes.clone())
        };
        for (path, bytes) in found.iter().filter(|(path, _)| !is_hidden(path)) {
            let which = made
                .iter()
                .position(|files| of(files, path).as_ref() == Some(bytes));
            let which = which.unwrap_or_else(|| panic!("{} is half", path.display()));
            // What lies beside an image is of that very image.
            let image = path.with_extension("");
            if path.extension().is_some_and(|end| end == "sha256") {
                assert!(
                    of(&found, &image) == of(&made[which], &image),
                    "{}",
                    path.display()
                );
            }
        }
        // One that does not write them anew must not leave those of another image.
        let args = if case % 4 < 2 {
            &build[..]
        } else {
            &build[..3]
        };
        scratch.cardmint(args).expect(0);
        let found = scratch.snapshot("c/images");
        names(&found);
        assert_whole(&found, &made[new]);
        scratch.cardmint(&build).expect(0);
        assert!(scratch.snapshot("c/images") == made[new]);
    });
}

#[test]
fn a_killed_handover_leaves_whole_files() {
    let scratch = Scratch::cluster(BASE, |text| text);
    scratch.cardmint(&["build", "-q"]).expect(0);
    killed(&scratch, &[&["handover", "-q"]], &["c/handover"]);
}

#[test]
fn what_a_killed_run_left_goes_even_where_nothing_changes() {
    let scratch = Scratch::cluster(BASE, |text| text);
    let build = ["build", "-q", "--format", "img.zst"];
    scratch.cardmint(&build).expect(0);
    let wanted = scratch.snapshot("c");
    let packed = "c/images/.raspberrypi1.img.zst";
    for left in [
        "c/.cluster.lock.Ab12Cd.partial",
        "c/handover/.ssh_config.Ab12Cd.partial",
        // Of a monitoring host, which this cluster has not.
        "c/handover/.prometheus.yml.Ab12Cd.partial",
        &format!("{packed}.Ab12Cd.partial"),
        &format!("{packed}.sha256.Ab12Cd.partial"),
        &format!("{packed}.bmap.Ab12Cd.partial"),
    ] {
        scratch.write(left, "ha");
    }
    scratch.cardmint(&build).expect(0);
    let found = scratch.snapshot("c");
    assert_eq!(names(&found), names(&wanted));
    assert!(found == wanted);
}

#[test]
fn a_killed_init_is_taken_up() {
    let scratch = Scratch::new();
    let image = base(BASE);
    let image = image.to_str().expect("UTF-8");
    let init = ["init", "--yes", "-q", "--count", "2", "--image", image];
    let whole = timed(|| scratch.cardmint(&init));
    let files = names(&scratch.snapshot("c"));
    let sizes =
        |files: &Files| -> Vec<usize> { files.iter().map(|(_, bytes)| bytes.len()).collect() };
    let lens = sizes(&scratch.snapshot("c"));
    sweep(cases(10, 10), |case, say| {
        fs::remove_dir_all(scratch.path("c")).expect("a directory");
        fs::create_dir(scratch.path("c")).expect("a directory");
        let after = moment(case, whole);
        say(&format_args!("after {after:?} of {whole:?}"));
        let child = start(scratch.command(&init));
        thread::sleep(after);
        kill(child);
        let left = scratch.snapshot("c");
        let is_complete = scratch.path("c/cluster.toml").exists();
        if !is_complete {
            scratch.cardmint(&init).expect(0);
        }
        let made = scratch.snapshot("c");
        // Keys that were there are still the same.
        for (path, bytes) in left.iter().filter(|(path, _)| !is_hidden(path)) {
            let same = made
                .iter()
                .any(|(other, now)| other == path && now == bytes);
            assert!(same, "{}", path.display());
        }
        assert_eq!(names(&made), files);
        assert_eq!(sizes(&made), lens);
        let login = scratch.path("c/id_ed25519");
        let public = tool("ssh-keygen", &["-yf", login.to_str().expect("UTF-8")]).expect(0);
        let beside = fs::read_to_string(scratch.path("c/id_ed25519.pub")).expect("a key");
        assert_eq!(public.stdout, beside);
        scratch.cardmint(&["plan"]).expect(0);
    });
}

#[test]
fn a_killed_flash_leaves_a_card_that_does_not_boot_or_is_whole() {
    const LEN: usize = 12 << 20;
    let scratch = Scratch::cluster(BASE, |text| text);
    let card = scratch.path("card");
    let garbage = vec![0xa5; LEN];
    fs::write(&card, &garbage).expect("a card");
    let path = card.to_str().expect("UTF-8");
    let target = format!("0={path}");
    let flash = ["flash", "--yes", "-q", &target];
    let whole = timed(|| scratch.cardmint(&flash));
    let wanted = fs::read(&card).expect("a card");
    let record = || scratch.path("c/cluster.lock");
    let state = || -> Option<String> {
        let text = fs::read_to_string(record()).ok()?;
        let table: toml::Table = text.parse().expect("TOML");
        let state = table["card"]["0"]["state"].as_str().expect("text");
        Some(state.to_owned())
    };
    sweep(cases(4, 10), |case, say| {
        let after = moment(case, whole);
        say(&format_args!("after {after:?} of {whole:?}"));
        // A card with something else on it, or one of ours with another node.
        if case % 2 == 0 {
            fs::write(&card, &garbage).expect("a card");
            remove(&scratch, &["c/cluster.lock"]);
        } else {
            let other = format!("1={path}");
            scratch
                .cardmint(&["flash", "--yes", "-q", &other])
                .expect(0);
        }
        let before = (fs::read(&card).expect("a card"), state());
        let child = start(scratch.command(&flash));
        thread::sleep(after);
        kill(child);
        let found = fs::read(&card).expect("a card");
        let is_headless = found[..512].iter().all(|&byte| byte == 0);
        assert!(
            is_headless || found == before.0 || found == wanted,
            "half, and boots"
        );
        let state = (state(), found == before.0);
        match state.0.as_deref() {
            None => assert!(state.1, "written, and the record does not say so"),
            Some("verified") => assert!(found == wanted || state.1),
            Some(other) => assert!(["writing", "overwritten"].contains(&other), "{other}"),
        }
        scratch.cardmint(&["plan"]).expect(0);
        scratch.cardmint(&flash).expect(0);
        assert!(fs::read(&card).expect("a card") == wanted, "another card");
        scratch.cardmint(&["verify", "0", path]).expect(0);
        names(&scratch.snapshot("c"));
        names(&scratch.snapshot("cache"));
    });
}

#[test]
fn a_killed_fetch_leaves_whole_images() {
    let publisher = Publisher::new();
    let image = fs::read(&publisher.image).expect("an image");
    let slow = || Answer::content(Content::file(&publisher.image)).pause(Duration::from_millis(2));
    publisher.serve(PATH, slow());
    let fetch = ["images", "fetch", "raspios-lite-arm64", "-q"];
    let scratch = &publisher.scratch;
    let whole = timed(|| publisher.run(&fetch));
    let wanted = names(&scratch.snapshot("cache"));
    sweep(cases(4, 10), |case, say| {
        let after = moment(case, whole);
        say(&format_args!("after {after:?} of {whole:?}"));
        fs::remove_dir_all(scratch.path("cache/cardmint")).expect("a cache");
        for _ in 0..=case % 2 {
            let child = start(publisher.command(&fetch));
            thread::sleep(after);
            kill(child);
        }
        for (path, bytes) in scratch.snapshot("cache") {
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
            if path.ends_with(FILE) && !folder.as_encoded_bytes().starts_with(b".") {
                assert!(bytes == image, "{} is half", path.display());
            }
        }
        publisher.run(&fetch).expect(0);
        publisher.run(&["images", "verify"]).expect(0);
        assert_eq!(names(&scratch.snapshot("cache")), wanted);
        assert!(fs::read(publisher.stored()).expect("an image") == image);
    });
}
