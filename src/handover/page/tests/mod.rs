//! The page as text; [`judged`] has it read by others.

mod fixtures;
mod judged;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::text::{columns, lines, width};
use super::{Page, PageError, html, svg};
use crate::provision::Templates;
use fixtures::{bare, long, usual};

fn drawn(page: &Page<'_>) -> String {
    svg(page, &Templates::embedded()).unwrap()
}

fn written(page: &Page<'_>) -> String {
    html(page, &Templates::embedded()).unwrap()
}

/// The groups of a drawing that stand for nodes, by id.
fn groups(svg: &str) -> Vec<String> {
    let tree = roxmltree::Document::parse(svg).unwrap();
    let nodes = tree.descendants().filter(|element| {
        let id = element.attribute("id").unwrap_or_default();
        id.starts_with("node-")
    });
    nodes.map(|node| svg[node.range()].to_owned()).collect()
}

#[test]
fn a_small_cluster_is_drawn_as_before() {
    insta::assert_snapshot!(drawn(&usual(2)));
}

#[test]
fn the_same_page_gives_the_same_bytes() {
    assert_eq!(drawn(&usual(12)), drawn(&usual(12)));
    assert_eq!(written(&usual(12)), written(&usual(12)));
}

#[test]
fn one_more_node_leaves_the_others_as_they_are() {
    for count in [4, 5, 7, 8, 99] {
        let (before, after) = (
            groups(&drawn(&usual(count))),
            groups(&drawn(&usual(count + 1))),
        );
        assert_eq!(before.len(), count as usize);
        assert_eq!(before, after[..before.len()], "{count} nodes and one more");
    }
}

#[test]
fn every_drawing_is_well_formed_and_names_nothing_twice() {
    for page in [usual(1), usual(3), usual(12), usual(100), long(), bare()] {
        let svg = drawn(&page);
        let tree = roxmltree::Document::parse(&svg).unwrap();
        let mut ids = BTreeSet::new();
        for id in tree
            .descendants()
            .filter_map(|element| element.attribute("id"))
        {
            assert!(ids.insert(id), "{id} is there twice");
        }
        assert_eq!(groups(&svg).len(), page.nodes.len());
    }
}

#[test]
fn a_drawing_links_to_what_each_node_offers() {
    let svg = drawn(&usual(3));
    let tree = roxmltree::Document::parse(&svg).unwrap();
    let links = |id: &str| -> Vec<String> {
        let node = tree
            .descendants()
            .find(|element| element.attribute("id") == Some(id));
        let links = node
            .unwrap()
            .descendants()
            .filter(|element| element.has_tag_name(("http://www.w3.org/2000/svg", "a")));
        links
            .map(|link| link.attribute("href").unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        links("node-0"),
        [
            "ssh://pi@raspberrypi0.lan",
            "ssh://pi@raspberrypi0.lan",
            "http://raspberrypi0.lan:9100/metrics",
            "http://raspberrypi0.lan:9090",
            "http://raspberrypi0.lan:3000",
        ]
    );
    assert_eq!(
        links("node-1"),
        [
            "ssh://pi@raspberrypi1.lan",
            "ssh://pi@raspberrypi1.lan",
            "http://raspberrypi1.lan:9100/metrics",
        ]
    );
}

#[test]
fn a_fingerprint_in_pieces_is_still_whole() {
    let page = usual(1);
    let svg = drawn(&page);
    let tree = roxmltree::Document::parse(&svg).unwrap();
    let pieces: String = tree
        .descendants()
        .filter(|element| element.has_tag_name(("http://www.w3.org/2000/svg", "tspan")))
        .filter_map(|piece| piece.text())
        .collect();
    assert_eq!(format!("SHA256:{pieces}"), page.nodes[0].fingerprint);
}

#[test]
fn an_address_of_ipv6_is_bracketed_in_a_url() {
    let mut page = bare();
    page.nodes[0].name = "fd00::13".to_owned();
    assert_eq!(page.nodes[0].ssh_url(), "ssh://pi@[fd00::13]");
}

#[test]
fn what_no_code_holds_is_refused_by_name() {
    let mut page = bare();
    page.nodes[0].name = "n".repeat(3000);
    let error = html(&page, &Templates::embedded()).unwrap_err();
    assert!(
        matches!(&error, PageError::Label { url } if url.len() > 3000),
        "{error}"
    );
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let html = written(&usual(4));
    for word in [
        "<script",
        "<img",
        "<link",
        "<iframe",
        "@import",
        "url(",
        " src=",
        "javascript:",
    ] {
        assert!(!html.contains(word), "the page has {word}");
    }
    // The one address that is no link is the name of SVG.
    let elsewhere = html
        .split("http")
        .skip(1)
        .filter(|rest| !rest.starts_with("://raspberrypi") && !rest.starts_with("-equiv"));
    let elsewhere: Vec<&str> = elsewhere.map(|rest| &rest[..20]).collect();
    assert_eq!(elsewhere, ["://www.w3.org/2000/s"]);
}

proptest! {
    #[test]
    fn hostile_words_do_not_break_a_drawing(text in any::<String>(), nasty in "[\\x00-\\x1f\"'<>&\\]]{0,20}") {
        let text = text + &nasty;
        let mut page = usual(2);
        page.cluster = &text;
        page.domain = Some(&text);
        page.nodes[1].hostname = &text;
        page.nodes[1].name = text.clone();
        page.nodes[1].user = &text;
        page.nodes[1].fingerprint = &text;
        page.nodes[1].card = Some(text.clone());
        page.nodes[1].exporter = Some(text.clone());
        let svg = drawn(&page);
        prop_assert!(roxmltree::Document::parse(&svg).is_ok());
        prop_assert_eq!(groups(&svg).len(), 2);
    }

    #[test]
    fn lines_fit_and_lose_nothing_without_saying_so(text in "[a-z0-9.é漢 -]{0,120}", columns in 2usize..40, most in 1usize..5) {
        let lines = lines(&text, columns, most);
        prop_assert!(lines.len() <= most, "{lines:?}");
        for line in &lines {
            prop_assert!(width(line) <= columns, "{line:?} in {columns} columns");
        }
        let solid = |text: &str| text.replace(' ', "");
        let told = solid(&lines.concat());
        match told.split_once('…') {
            None => prop_assert_eq!(told, solid(&text)),
            Some((head, tail)) => {
                prop_assert!(solid(&text).starts_with(head) && solid(&text).ends_with(tail));
            }
        }
    }
}

#[test]
fn words_stay_whole_where_they_fit() {
    let card = "SanDisk SC32G, 31.9 GB, serial 0x1234, written 2026-11-26";
    assert_eq!(
        lines(card, 28, 4),
        [
            "SanDisk SC32G, 31.9 GB,",
            "serial 0x1234, written",
            "2026-11-26"
        ]
    );
    let name = "gateway-of-the-west-wing.lan";
    assert_eq!(lines(name, 20, 3), ["gateway-of-the-west-", "wing.lan"]);
    assert_eq!(lines(&"w".repeat(63), 27, 3).concat(), "w".repeat(63));
    assert_eq!(lines("abcdefghijkl", 4, 2), ["ab…", "kl"]);
}

#[test]
fn columns_are_counted_by_the_widest_font() {
    assert_eq!(columns(220, 17), 20);
}
