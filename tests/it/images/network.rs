use super::*;

#[test]
fn the_last_good_list_is_kept() {
    let publisher = Publisher::new();
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    publisher.serve(
        "/list.json",
        Answer::bytes("<html>maintenance</html>").etag(None),
    );
    let run = publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    assert!(
        run.stderr.contains("Going by the list of"),
        "{}",
        run.stderr
    );
    publisher.serve("/list.json", Answer::status(503));
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    // It is not sent again while it is the same.
    publisher.release(&publisher.image, PATH, "2026-06-18");
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
    let last = publisher
        .server
        .asks_for("/list.json")
        .pop()
        .expect("an ask");
    assert_eq!(last.status, 304);
    // Nor is one that rots gone by for ever, though its address has nothing newer.
    let lists = fs::read_dir(publisher.scratch.path("cache/cardmint/lists"));
    for file in lists.expect("a directory").flatten() {
        let text = fs::read_to_string(file.path()).expect("a file");
        let digest = sha256(&publisher.image);
        let rotten = text.replace(&digest, &digest.chars().rev().collect::<String>());
        fs::write(file.path(), rotten).expect("a file");
    }
    publisher
        .run(&["images", "fetch", "raspios-lite-arm64"])
        .expect(0);
}

#[test]
fn without_a_network_the_message_says_what_to_do() {
    let scratch = Scratch::new();
    let run = scratch.cardmint(&["images", "fetch", "raspios-lite-arm64"]);
    run.expect(1)
        .says(&["raspios-lite-arm64 is not on this computer, and cannot be fetched"]);
    // Who has named no image is told which one is wanted, and why.
    let cluster = Scratch::cluster("trixie-arm64", |text| {
        let image = |line: &&str| !line.starts_with("image");
        let lines: Vec<&str> = text.lines().filter(image).collect();
        lines.join("\n") + "\n[node.1]\nboard = \"pi-zero\"\n"
    });
    cluster.cardmint(&["plan"]).expect(1).says(&[
        "raspios-lite-armhf is taken, which boots every board: node 1 is a Raspberry Pi Zero",
        "raspios-lite-armhf is not on this computer",
    ]);
    scratch
        .cardmint(&["images", "fetch"])
        .expect(2)
        .says(&["name an image"]);
    scratch
        .cardmint(&["images", "fetch", "raspios-lite"])
        .expect(2)
        .says(&["did you mean `raspios-lite-arm64` or `raspios-lite-armhf`?"]);
}

#[test]
fn addresses_are_checked_by_what_lies_beside_them() {
    let publisher = Publisher::new();
    let url = publisher.server.url(PATH);
    let line = format!("{}  {FILE}\n", sha256(&publisher.image));
    publisher.serve(&format!("{PATH}.sha256"), Answer::bytes(line));
    // An address that leads on to it.
    publisher.serve("/latest", Answer::redirect(&url));
    let run = publisher
        .run(&["images", "fetch", &publisher.server.url("/latest")])
        .expect(0);
    assert!(
        run.stdout.contains(&format!("as {FILE}.sha256 promises")),
        "{}",
        run.stdout
    );
    let wrong = format!("{}  {FILE}\n", sha256(&base("trixie-arm64")));
    publisher.serve(&format!("{PATH}.sha256"), Answer::bytes(wrong));
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    publisher
        .run(&["images", "fetch", &url])
        .expect(3)
        .says(&["is not what was promised"]);
    publisher.serve(&format!("{PATH}.sha256"), Answer::status(404));
    // An address that names a file keeps its name, wherever it leads.
    publisher.serve(
        "/mine.img.xz",
        Answer::redirect(&publisher.server.url("/9f3a?expires=soon")),
    );
    publisher.serve(
        "/9f3a?expires=soon",
        Answer::content(Content::file(&publisher.image)),
    );
    let run = publisher
        .run(&["images", "fetch", &publisher.server.url("/mine.img.xz")])
        .expect(0);
    assert!(
        run.stdout.contains("mine.img.xz has arrived"),
        "{}",
        run.stdout
    );
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    let run = publisher.run(&["images", "fetch", &url]).expect(0);
    assert!(
        run.stdout.contains("nobody promises its sha256"),
        "{}",
        run.stdout
    );
}

#[test]
fn an_address_that_says_who_asks_says_so_of_what_lies_beside_the_image() {
    let publisher = Publisher::new();
    let path = |extension: &str| format!("/mine.img.xz{extension}?token=1/2");
    let image = Content::file(&publisher.image);
    publisher.serve(&path(""), Answer::content(image));
    let line = format!("{}  mine.img.xz\n", sha256(&publisher.image));
    publisher.serve(&path(".sha256"), Answer::bytes(line));
    let url = publisher.server.url(&path(""));
    let run = publisher.run(&["images", "fetch", &url]).expect(0);
    assert!(
        run.stdout.contains("as mine.img.xz.sha256 promises"),
        "{}",
        run.stdout
    );
}

#[test]
fn releases_that_no_list_knows_are_found_where_they_stay() {
    let publisher = Publisher::new();
    let proxy = Proxy::new();
    // Known by its digest alone, and no longer in the list.
    let mut command = publisher.command(&["images", "fetch", "raspios-lite-arm64@2025-12-04"]);
    command
        .env("https_proxy", proxy.url())
        .env("no_proxy", "localhost");
    let run = Run::of(&command.output().expect("cardmint"));
    // There is no internet in a test; that it is looked for there is what counts.
    run.expect(1).says(&[
        "downloads.raspberrypi.com/raspios_lite_arm64/images/raspios_lite_arm64-2025-12-04/",
    ]);
    assert_eq!(publisher.server.asks_for("/list.json").len(), 1);
    assert!(
        proxy
            .asked()
            .iter()
            .all(|host| host == "downloads.raspberrypi.com:443")
    );
}

#[test]
fn other_lists_have_names_too() {
    let publisher = Publisher::new();
    let entry = publisher.entry(&publisher.image, PATH, "2026-06-18");
    publisher
        .list(&json!([{ "name": "More", "subitems_url": publisher.server.url("/more.json") }]));
    let more = json!({ "os_list": [entry] }).to_string();
    publisher.serve("/more.json", Answer::bytes(more));
    let list = publisher.server.url("/list.json");
    let run = publisher
        .run(&["images", "list", "--from", &list])
        .expect(0);
    let name = format!("{list}#raspberry-pi-os-lite-64-bit");
    assert!(
        run.stdout.contains(&format!("image = \"{name}\"")),
        "{}",
        run.stdout
    );
    let json = publisher
        .run(&["images", "list", "--from", &list, "--json"])
        .expect(0)
        .json();
    assert_eq!(json[0]["image"], name);
    publisher.cluster(&name);
    publisher.run(&["build"]).expect(0);
    publisher.run(&["build", "--force"]).expect(0);
    assert_eq!(publisher.downloads(), 1);
    publisher.edit("#raspberry-pi-os-lite-64-bit", "#raspberry-pi-os-light");
    publisher
        .run(&["build"])
        .expect(2)
        .says(&["there is no entry", "raspberry-pi-os-lite-64-bit"]);
}

#[test]
fn a_killed_download_is_taken_up() {
    let publisher = Publisher::new();
    let len = 64 << 20;
    let noise = || Content::Noise { seed: 5, len };
    let path = "/noise.img";
    // So slow that it is not complete before it is killed, however busy the machine is.
    publisher.serve(
        path,
        Answer::content(noise()).pause(Duration::from_millis(10)),
    );
    let url = publisher.server.url(path);
    for _ in 0..3 {
        let before = publisher.server.sent(path);
        let mut child = publisher
            .command(&["images", "fetch", &url, "--quiet"])
            .spawn()
            .expect("cardmint");
        let folder = publisher.scratch.path("cache/cardmint/images");
        let arrived = || -> u64 {
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let files = entries.map(|entry| entry.path().join("noise.img"));
            files
                .filter_map(|path| Some(path.metadata().ok()?.len()))
                .sum()
        };
        let start = arrived();
        let patience = Instant::now() + Duration::from_secs(20);
        while arrived() < start + (8 << 20) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("kill -9");
        child.wait().expect("an end");
        assert!(publisher.server.sent(path) >= before);
    }
    publisher.serve(path, Answer::content(noise()));
    publisher.run(&["images", "fetch", &url]).expect(0);
    let last = publisher.server.asks_for(path).pop().expect("an ask");
    assert!(last.from.expect("a range") >= 24 << 20, "{last:?}");
    publisher.run(&["images", "verify"]).expect(0);
}

/// Digest of a server's noise.
fn digest_of(content: &Content) -> String {
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut piece = vec![0; 1 << 20];
    for offset in (0..content.len()).step_by(piece.len()) {
        content.read(&mut piece, offset);
        stdin.write_all(&piece).expect("a pipe");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("a digest");
    String::from_utf8(output.stdout).expect("UTF-8")[..64].to_owned()
}

#[test]
fn a_gigabyte_arrives_over_a_bad_line_without_a_byte_twice() {
    let scratch = Scratch::new();
    let server = Server::http();
    let noise = || Content::Noise {
        seed: 11,
        len: 1 << 30,
    };
    let path = "/gigabyte.img";
    server.serve(path, Answer::content(noise()).cut_randomly(17, 16 << 20));
    let (url, sha256) = (server.url(path), digest_of(&noise()));
    let run = scratch.cardmint(&["images", "fetch", &url, "--sha256", &sha256, "--json"]);
    let json = run.expect(0).json();
    assert_eq!(json[0]["sha256"], sha256);
    assert_eq!(server.sent(path), 1 << 30);
    let cuts = server.asks_for(path).len();
    assert!(cuts > 60, "{cuts}");
    eprintln!("{cuts} connections");
}

#[test]
fn proxies_are_those_of_the_environment() {
    let publisher = Publisher::new();
    let proxy = Proxy::new();
    let fetch = |variables: &[(&str, &str)]| {
        let mut command = publisher.command(&["images", "fetch", "raspios-lite-arm64"]);
        command.envs(variables.iter().copied());
        Run::of(&command.output().expect("cardmint"))
    };
    fetch(&[("https_proxy", &proxy.url()), ("NO_PROXY", "localhost")]).expect(0);
    assert!(proxy.asked().is_empty());
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    fetch(&[("https_proxy", &proxy.url())]).expect(0);
    let host = publisher.server.url("").replace("https://", "");
    assert!(proxy.asked().contains(&host), "{:?}", proxy.asked());
    let secret = "http://me:s3cret@127.0.0.1:1";
    publisher
        .run(&["images", "prune", "--all", "--yes"])
        .expect(0);
    let run = fetch(&[("https_proxy", secret)]).expect(1);
    assert!(!run.stderr.contains("s3cret"), "{}", run.stderr);
    fetch(&[("https_proxy", "ftp://x")])
        .expect(2)
        .says(&["https_proxy"]);
}

#[test]
fn killed_at_any_moment_it_leaves_what_the_next_run_uses() {
    let publisher = Publisher::new();
    let fetch = ["images", "fetch", "raspios-lite-arm64", "--quiet"];
    let start = Instant::now();
    publisher.run(&fetch).expect(0);
    let whole = start.elapsed();
    let folder = publisher.scratch.path("cache/cardmint/images");
    for step in 0..40_u32 {
        publisher
            .run(&["images", "prune", "--all", "--yes"])
            .expect(0);
        for round in 0..2 {
            let mut child = publisher.command(&fetch).spawn().expect("cardmint");
            thread::sleep(whole * (step + round) / 40);
            child.kill().expect("kill -9");
            child.wait().expect("an end");
        }
        publisher.run(&fetch).expect(0);
        publisher.run(&["images", "verify"]).expect(0);
        let left = fs::read_dir(&folder).expect("a directory").count();
        assert_eq!(left, 1, "after {step} steps");
        let entry = publisher.stored().parent().map(fs::read_dir);
        for file in entry.expect("a folder").expect("a folder").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            assert!([FILE, "note.json"].contains(&&*name), "{name}");
        }
    }
}
