//! Provisioning as a whole: what it renders, and what becomes of it.

mod expanded;
pub(super) mod fixtures;
mod judged;
mod lived;
mod machine;
mod masked;
mod measured;
mod mishaps;
mod rendered;
mod users;
mod watching;

/// Whether `name` can be run; a machine of the CI must have it.
fn tool(name: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(name).is_file());
    assert!(
        found || std::env::var_os("CI").is_none(),
        "{name} is not installed"
    );
    if !found {
        std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("SKIPPED: {name} is not installed\n").as_bytes(),
        )
        .unwrap();
    }
    found
}
