//! What stands in `buildroot/` twice, or must agree with the rest of the checkout.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Symbol by symbol what a configuration asks for; the last of several counts.
fn asked(text: &str) -> BTreeMap<String, String> {
    let symbol = |line: &str| line.trim_start_matches("# ").split(['=', ' ']).next().unwrap_or_default().to_owned();
    let is_line =
        |line: &&str| line.starts_with("BR2_") || (line.starts_with("# BR2_") && line.ends_with(" is not set"));
    text.lines().filter(is_line).map(|line| (symbol(line), line.to_owned())).collect()
}

fn boards() -> Vec<String> {
    let entries = fs::read_dir(checkout("buildroot/configs")).unwrap().flatten();
    let board = |name: String| Some(name.strip_prefix("homebolt_")?.strip_suffix("_defconfig")?.to_owned());
    let mut boards: Vec<String> = entries.filter_map(|entry| board(entry.file_name().into_string().unwrap())).collect();
    boards.sort();
    boards
}

#[test]
fn each_board_has_a_configuration() {
    assert_eq!(boards(), ["aarch64", "rpi4", "rpi5", "x86-64"]);
}

#[test]
fn a_configuration_has_nothing_that_its_two_fragments_do_not_ask_for() {
    for board in boards() {
        let fragments = read("buildroot/configs/common") + &read(&format!("image/boards/{board}/buildroot.config"));
        let wanted: BTreeSet<String> = asked(&fragments).into_values().collect();
        let has: BTreeSet<String> =
            asked(&read(&format!("buildroot/configs/homebolt_{board}_defconfig"))).into_values().collect();
        let more: Vec<_> = has.difference(&wanted).collect();
        assert!(more.is_empty(), "{board}: run buildroot/scripts/compose; not in the fragments: {more:?}");
        // What is not there are Buildroot's defaults. Never these, which no default sets.
        for line in
            ["BR2_DOWNLOAD_FORCE_CHECK_HASHES=y", "BR2_FORTIFY_SOURCE_2=y", "BR2_REPRODUCIBLE=y", "BR2_PACKAGE_LND=y"]
        {
            assert!(has.contains(line), "{board} lacks {line}: run buildroot/scripts/compose");
        }
    }
}

#[test]
fn the_packages_have_the_versions_that_the_checkout_pins() {
    let go_mod = read("image/lnd/go.mod");
    let lnd = go_mod.lines().find_map(|line| line.trim().strip_prefix("github.com/lightningnetwork/lnd ")).unwrap();
    assert!(read("buildroot/package/lnd/lnd.mk").contains(&format!("LND_VERSION = {lnd}\n")));
    let manager = format!("HOMEBOLT_MANAGER_VERSION = {}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("buildroot/package/homebolt-manager/homebolt-manager.mk").contains(&manager));
}

#[test]
fn the_kernels_headers_have_the_hashes_of_the_kernel() {
    let hashes = |package: &str| read(&format!("buildroot/patches/{package}/{package}.hash"));
    assert_eq!(hashes("linux-headers"), hashes("linux"));
}

#[test]
fn lnd_is_built_with_the_same_tags_on_both_bases() {
    let text = read("buildroot/package/lnd/lnd.mk").replace("\\\n", " ");
    let tags = text.lines().find_map(|line| line.strip_prefix("LND_TAGS =")).unwrap();
    assert_eq!(tags.split_whitespace().collect::<Vec<_>>(), lnd::TAGS.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn the_manager_is_built_with_the_profile_of_the_workspace() {
    let text = read("buildroot/package/homebolt-manager/homebolt-manager.mk");
    let workspace: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    let profile = workspace["profile"]["release"].as_table().unwrap();
    for (name, value) in profile.iter().filter(|(name, _)| *name != "package") {
        let variable = format!("CARGO_PROFILE_RELEASE_{}", name.to_uppercase().replace('-', "_"));
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(text.contains(&format!("{variable}={value}")), "{variable}={value}");
    }
    for flag in super::super::programs::NOT_IN_SQLITE.split_whitespace() {
        assert!(text.contains(flag), "{flag}");
    }
}

/// The script's words, or nothing when it is content.
fn check_config(configuration: &str, fragments: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: String, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mut check = Command::new(checkout("buildroot/scripts/check-config"));
    check.arg(put("config".into(), configuration));
    check.args(fragments.iter().enumerate().map(|(number, text)| put(format!("fragment{number}"), text)));
    let output = check.output().unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_symbol_that_was_asked_for_and_is_not_set_is_named() {
    let configuration = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_S=\"x\"\n";
    assert_eq!(check_config(configuration, &["# words\nCONFIG_A=y\nCONFIG_S=\"x\"\n# CONFIG_GONE is not set\n"]), None);
    for (fragment, word) in [
        ("CONFIG_B=y\n", "CONFIG_B is not set"),
        ("CONFIG_C=m\n", "asks for CONFIG_C=m"),
        ("CONFIG_S=\"y\"\n", "CONFIG_S=\"x\""),
        ("# CONFIG_A is not set\n", "the configuration has CONFIG_A=y"),
    ] {
        let said = check_config(configuration, &[fragment]).unwrap_or_else(|| panic!("content with {fragment}"));
        assert!(said.contains(word) && said.contains("fragment0"), "{said}");
    }
}

#[test]
fn built_in_is_more_than_a_module_and_the_last_fragment_counts() {
    assert_eq!(check_config("CONFIG_A=y\n", &["CONFIG_A=m\n"]), None);
    assert!(check_config("CONFIG_A=m\n", &["CONFIG_A=y\n"]).is_some());
    assert_eq!(check_config("CONFIG_A=m\n", &["CONFIG_A=y\n", "CONFIG_A=m\n"]), None);
}

#[test]
fn the_parts_list_names_what_is_on_the_box_and_not_what_made_it() {
    let packages = log::packages(include_str!("make/show-info.json")).unwrap();
    let names: Vec<String> = parts(&packages).into_iter().map(|part| part.name).collect();
    assert_eq!(names, ["iwd", "linux", "rauc"]);
}

#[test]
fn time_zones_are_where_who_lists_them_looks() {
    let tree = tempfile::tempdir().unwrap();
    let folder = tree.path().join("usr/share/zoneinfo");
    for path in ["posix/Europe", "right/Europe"] {
        fs::create_dir_all(folder.join(path)).unwrap();
        fs::write(folder.join(path).join("Rome"), path).unwrap();
    }
    std::os::unix::fs::symlink("posix/Europe", folder.join("Europe")).unwrap();
    fs::write(folder.join("zone.tab"), "").unwrap();
    zones(tree.path()).unwrap();
    assert!(!folder.join("Europe").is_symlink());
    assert_eq!(fs::read_to_string(folder.join("Europe/Rome")).unwrap(), "posix/Europe");
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["Europe", "zone.tab"]);
    // A tree of another kind is left as it is.
    zones(tree.path()).unwrap();
}
