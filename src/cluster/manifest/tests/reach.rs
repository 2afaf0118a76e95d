//! Fixed addresses that lead nowhere else.

use super::*;

#[test]
fn addresses_without_a_gateway_are_told_of_once() {
    let bench = Bench::new();
    let told = |extra: &str| bench.accept(extra).notices;
    let fixed = |number: u32| format!("[node.{number}]\naddress = \"10.0.0.{number}/24\"\n");
    let notices = told(&fixed(9));
    let [one] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(
        one.starts_with("pi09 has a fixed address and no gateway: it reaches nothing"),
        "{one}"
    );
    let all: String = [9, 10, 11].map(fixed).concat();
    let notices = told(&all);
    let [one] = notices.as_slice() else {
        panic!("{notices:?}");
    };
    assert!(one.starts_with("pi09 and 2 more have"), "{one}");
    // All of these reach something.
    let wifi = "[wifi]\nssid = \"x\"\ncountry = \"PT\"\nopen = true\n";
    for extra in [
        format!("{}gateway = \"10.0.0.1\"\n", fixed(9)),
        format!("{wifi}{}interface = \"eth0\"\n", fixed(9)),
        "[node.9]\naddress = \"169.254.7.9/16\"\n".to_owned(),
        "[node.9]\naddress = \"fd00::9/64\"\n".to_owned(),
    ] {
        assert_eq!(told(&extra), Vec::<String>::new(), "{extra}");
    }
    assert_eq!(told(&format!("{wifi}{}", fixed(9))).len(), 1);
    // The gateway of the others is one of them.
    let text = sound(3).replace("count = 3", "count = 3\ngateway = \"10.0.0.9\"");
    let cluster = bench.parse(&format!("{text}{all}")).unwrap();
    assert_eq!(cluster.notices, Vec::<String>::new());
}
