use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;
use crate::base::fetch::ImageStore;
use crate::base::fetch::partial::Partial;

fn store(bench: &Bench) -> ImageStore {
    ImageStore::open(&bench.cache).expect("a store")
}

#[test]
fn a_link_in_place_of_a_download_is_not_followed() {
    let (server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let dir = store(&bench).partial(&wanted.url);
    let folder = bench.dir.path().join("folder");
    let file = folder.join("file");
    fs::create_dir(&folder).expect("a folder");
    fs::write(&file, "precious").expect("a file");
    let assert_refused = |link: &std::path::Path| {
        let error = bench.fails(&wanted);
        let FetchError::Cache { source, .. } = &error else {
            panic!("{error:?}");
        };
        let told = format!("{} is a link", link.display());
        assert!(source.to_string().contains(&told), "{source}");
        assert_eq!(fs::read(&file).expect("a file"), b"precious");
    };
    fs::create_dir(&dir).expect("a folder");
    symlink(&file, dir.join(&wanted.name)).expect("a link");
    assert_refused(&dir.join(&wanted.name));
    fs::remove_dir_all(&dir).expect("a folder");
    symlink(&folder, &dir).expect("a link");
    assert_refused(&dir);
    assert!(server.asks().is_empty());
}

#[test]
fn what_root_finds_stays_whose_it_is_and_what_root_makes_is_the_users() {
    const USER: u32 = 12_345;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_server, wanted) = noisy(MIB, |answer| answer);
    let bench = Bench::new();
    let store = store(&bench);
    let dir = store.partial(&wanted.url);
    fs::create_dir(&dir).expect("a folder");
    std::os::unix::fs::chown(&dir, Some(USER), Some(USER)).expect("root's rights");
    let owner = || {
        let opened = Partial::open(&store, &wanted.url, &wanted.name, &Silent, &bench.interrupt);
        drop(opened.expect("a folder").expect("a download"));
        fs::metadata(dir.join(&wanted.name)).expect("a file").uid()
    };
    assert_eq!(owner(), USER);
    fs::remove_file(dir.join(&wanted.name)).expect("a file");
    fs::write(dir.join(&wanted.name), "root's").expect("a file");
    assert_eq!(owner(), 0);
}
