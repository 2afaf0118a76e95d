mod disk;
mod system;

use super::Layout;
use super::detect::{customised, detect};
use crate::base::ReadAt;

#[test]
fn the_practice_base_is_read_to_its_end() {
    let bytes = include_bytes!("../../../images/practice.img.xz");
    let base = crate::base::Base::from_static("practice", bytes).unwrap();
    let layout = Layout::read(&base).unwrap();
    assert_eq!(customised(&layout.boot), None);
    assert!(detect(&layout.boot, None).is_ok());
    assert!(!layout.boards().is_empty());
    assert!(
        layout
            .disk
            .partitions
            .iter()
            .all(|p| p.offset + p.len <= base.len())
    );
}
