use std::process::{Command, Stdio};

use crate::harness::{Run, Scratch};

#[test]
fn writes_nothing() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let before = scratch.snapshot("c");
    scratch.cardmint(&["plan"]).expect(0);
    scratch
        .cardmint(&["plan", "--json", "--nodes", "1"])
        .expect(0);
    assert!(before == scratch.snapshot("c"));
}

#[test]
fn tells_programs_what_it_tells_people() {
    let scratch = Scratch::cluster("bookworm-arm64", |text| {
        text + "\n[node.1]\nhostname = \"gateway\"\naddress = \"192.168.1.13/24\"\nboard = \"pi-4b\"\n"
    });
    let text = scratch.cardmint(&["plan"]).expect(0).stdout;
    for part in [
        "raspberrypi0",
        "gateway",
        "192.168.1.13/24 on eth0",
        "pi-4b",
        "first boot by firstrun",
        "Bookworm of 2023-12-11",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let plan = scratch.cardmint(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["bases"][0]["os"]["generation"], "bookworm");
    assert_eq!(plan["bases"][0]["os"]["mechanism"], "firstrun");
    assert_eq!(plan["nodes"][1]["hostname"], "gateway");
    assert_eq!(plan["nodes"][1]["board"], "pi-4b");
    let files = plan["nodes"][1]["files"].as_array().expect("files");
    assert!(
        files
            .iter()
            .any(|file| file["name"] == "firstrun.sh" && file["secret"] == true)
    );
}

#[test]
fn chooses_nodes_by_number_range_and_name() {
    let scratch = Scratch::new();
    scratch.init("practice".as_ref(), 12);
    let names = |set: &str| -> Vec<String> {
        let plan = scratch
            .cardmint(&["plan", "--json", "--nodes", set])
            .expect(0)
            .json();
        let nodes = plan["nodes"].as_array().expect("nodes");
        nodes
            .iter()
            .map(|node| node["number"].to_string())
            .collect()
    };
    assert_eq!(names("0-3,7"), ["0", "1", "2", "3", "7"]);
    assert_eq!(names("raspberrypi11,2,2,1-2"), ["1", "2", "11"]);
    assert_eq!(names("raspberrypi4.lan"), ["4"]);
    for (set, said) in [
        ("12", "0 to 11"),
        ("3-1", "names no nodes"),
        ("nobody", "no node `nobody`"),
    ] {
        scratch
            .cardmint(&["plan", "--nodes", set])
            .expect(2)
            .says(&[said]);
    }
}

#[test]
fn a_mechanism_can_be_overruled_and_must_be_named_for_others_systems() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    let plan = scratch
        .cardmint(&["plan", "--json", "--mechanism", "firstrun"])
        .expect(0)
        .json();
    let files = plan["nodes"][0]["files"].as_array().expect("files").clone();
    assert!(files.iter().any(|file| file["name"] == "firstrun.sh"));
    scratch
        .cardmint(&["plan", "--mechanism", "magic"])
        .expect(2);
}

#[test]
fn templates_beside_the_manifest_replace_ours() {
    let scratch = Scratch::cluster("trixie-arm64", |text| text);
    std::fs::create_dir(scratch.path("c/templates")).expect("a directory");
    scratch.write("c/templates/network-config.yaml", "# mine\n");
    let shown = scratch
        .cardmint(&["plan", "--show", "network-config"])
        .expect(0)
        .stdout;
    assert_eq!(shown, "# mine\n");
    scratch.write("c/templates/nework-config.yaml", "# mine\n");
    scratch
        .cardmint(&["plan"])
        .expect(2)
        .says(&["nework-config.yaml", "network-config.yaml"]);
}

#[test]
fn tables_keep_to_the_columns_of_the_terminal() {
    let scratch = Scratch::cluster("trixie-arm64", |text| {
        format!("{text}\n[node.1]\naddress = \"192.168.100.101/24\"\ngateway = \"192.168.100.1\"\n")
    });
    let answer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/answer.py");
    let at_terminal = |columns: u32| {
        let size = format!("--size={columns}x60");
        let dir = scratch.path("c");
        let output = Command::new("python3")
            .args([answer, &size, "[]", env!("CARGO_BIN_EXE_cardmint"), "-C"])
            .arg(&dir)
            .args(["plan", "--out", "/srv/images/of/a/cluster"])
            .env("HOME", scratch.path("home"))
            .env("XDG_CACHE_HOME", scratch.path("cache"))
            .stdin(Stdio::null())
            .output();
        Run::of(&output.expect("python3 runs")).expect(0).stdout
    };
    let wide = at_terminal(160);
    let path = "/srv/images/of/a/cluster/raspberrypi1.img";
    assert!(wide.contains(path) && wide.contains("(secret, removed after first boot)"));
    let narrow = at_terminal(80);
    let rows = narrow.lines().filter(|line| line.starts_with(' '));
    let rows: Vec<&str> = rows.map(str::trim_end).collect();
    for row in &rows {
        assert!(row.chars().count() <= 80, "{row}");
    }
    let has = |text: &str| rows.iter().any(|row| row.ends_with(text));
    assert!(has("raspberrypi1.img") && !has(path), "{narrow}");
    assert!(has("removed after first boot)"), "{narrow}");
}
