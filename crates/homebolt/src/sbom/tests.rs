use super::*;

fn release() -> Release {
    Release {
        version: "0.1.0".into(),
        board: "x86-64".into(),
        base: "debian".into(),
        built: 1_700_000_000,
        lnd_version: "v0.21.2-beta".into(),
        development_keys: false,
        eeprom: None,
    }
}

fn libc() -> DebianPackage {
    DebianPackage {
        name: "libstdc++6".into(),
        version: "1:14.2.0-19+b1".into(),
        architecture: "amd64".into(),
        source: Some("gcc-14 (14.2.0-19)".into()),
        sha256: Some("ab".repeat(32)),
        licence: None,
    }
}

fn parts(debian: &[DebianPackage], crates: &[Crate], go: &[GoModule]) -> (String, Value) {
    let release = release();
    let contents = Contents { release: &release, distribution: "trixie", debian, source: &[], crates, go, data: &[] };
    let text = document(&contents).unwrap();
    let value = serde_json::from_str(&text).unwrap();
    (text, value)
}

const GO: &str = "/work/lnd: go1.26.8\n\tpath\thomebolt/lnd\n\tmod\thomebolt/lnd\t(devel)\t\n\
    \tdep\tgithub.com/BurntSushi/toml\tv1.5.0\th1:W5quZX/G/csjUnuI8SUYlsHs9M38FC7znL0lIO+DvMg=\n\
    \tdep\tgithub.com/gogo/protobuf\tv1.3.1\n\t=>\tgithub.com/gogo/protobuf\tv1.3.2\th1:Ov1cvc58UF3b5XjBnZv7=\n\
    \tbuild\t-buildmode=exe\n";

#[test]
fn a_debian_package_becomes_a_purl_that_scanners_can_look_up_by_its_source() {
    let (_, document) = parts(&[libc()], &[], &[]);
    let part = &document["components"][0];
    let purl = "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1?arch=amd64&distro=trixie&upstream=gcc-14%4014.2.0-19";
    assert_eq!(part["purl"], purl);
    assert_eq!(part["hashes"], json!([{"alg": "SHA-256", "content": "ab".repeat(32)}]));
}

#[test]
fn a_package_built_from_source_keeps_its_licence_and_the_name_that_scanners_know() {
    let release = release();
    let source = [SourcePackage {
        name: "rauc".into(),
        version: "1.15.2".into(),
        licence: Some("LGPL-2.1".into()),
        cpe: Some("cpe:2.3:a:pengutronix:rauc:1.15.2:-:*:*:*:*:*:*".into()),
    }];
    let contents =
        Contents { release: &release, distribution: "", debian: &[], source: &source, crates: &[], go: &[], data: &[] };
    let document: Value = serde_json::from_str(&document(&contents).unwrap()).unwrap();
    let part = &document["components"][0];
    assert_eq!(part["purl"], "pkg:generic/rauc@1.15.2");
    assert_eq!(part["licenses"][0]["license"]["name"], "LGPL-2.1");
    assert_eq!(part["cpe"], "cpe:2.3:a:pengutronix:rauc:1.15.2:-:*:*:*:*:*:*");
}

#[test]
fn headers_of_a_chain_are_a_part_with_their_hash() {
    let release = release();
    let file = DataFile { name: "block_headers.bin".into(), version: "mainnet-899999".into(), sha256: "ab".repeat(32) };
    let data = [file];
    let contents = Contents {
        release: &release,
        distribution: "trixie",
        debian: &[],
        source: &[],
        crates: &[],
        go: &[],
        data: &data,
    };
    let document: Value = serde_json::from_str(&document(&contents).unwrap()).unwrap();
    let part = &document["components"][0];
    assert_eq!(
        (&part["type"], &part["purl"]),
        (&json!("data"), &json!("pkg:generic/block_headers.bin@mainnet-899999"))
    );
    assert_eq!(part["hashes"][0]["content"], "ab".repeat(32));
}

#[test]
fn go_modules_carry_their_sums_and_a_replacement_takes_the_place_of_what_it_replaces() {
    let modules = go_modules(GO).unwrap();
    let names: Vec<_> = modules.iter().map(|m| format!("{} {}", m.path, m.version)).collect();
    assert_eq!(names, ["stdlib 1.26.8", "github.com/BurntSushi/toml v1.5.0", "github.com/gogo/protobuf v1.3.2"]);
    let (_, document) = parts(&[], &[], &modules);
    let purls: Vec<_> = document["components"].as_array().unwrap().iter().map(|part| part["purl"].clone()).collect();
    assert_eq!(
        purls,
        [
            "pkg:golang/github.com/burntsushi/toml@v1.5.0",
            "pkg:golang/github.com/gogo/protobuf@v1.3.2",
            "pkg:golang/stdlib@1.26.8"
        ]
    );
    assert_eq!(document["components"][1]["properties"][0]["value"], "h1:Ov1cvc58UF3b5XjBnZv7=");
}

#[test]
fn text_that_go_did_not_print_is_refused() {
    for text in ["", "lnd: not a Go program", "lnd: go1.26\n\tdep\tonly-a-path\n", "lnd: go1.26\n\t=>\ta\tv1\n"] {
        assert!(matches!(go_modules(text), Err(Error::Go(_))), "{text:?}");
    }
}

#[test]
fn order_and_repetition_of_the_inputs_do_not_change_a_byte() {
    let modules = go_modules(GO).unwrap();
    let reversed: Vec<_> = modules.iter().rev().cloned().collect();
    let (one, _) = parts(&[libc()], &[], &modules);
    let (two, _) = parts(&[libc(), libc()], &[], &reversed);
    assert_eq!(one, two);
}

#[test]
fn the_serial_number_is_a_uuid_that_follows_the_content() {
    let serial = |debian: &[DebianPackage]| parts(debian, &[], &[]).1["serialNumber"].as_str().unwrap().to_owned();
    let one = serial(&[libc()]);
    let shape: String = one.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
    assert_eq!(&shape["urn:uuix:".len()..], "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    assert_eq!(one.as_bytes()["urn:uuid:".len() + 14], b'8');
    let newer = DebianPackage { version: "1:14.2.0-20".into(), ..libc() };
    assert_ne!(one, serial(&[newer]));
}

#[test]
fn the_root_depends_on_every_part_and_the_time_is_that_of_the_sources() {
    let (_, document) = parts(&[libc()], &[], &go_modules(GO).unwrap());
    assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let dependencies = document["dependencies"].as_array().unwrap();
    assert_eq!(dependencies[0]["ref"], document["metadata"]["component"]["bom-ref"]);
    assert_eq!(dependencies[0]["dependsOn"].as_array().unwrap().len(), 4);
    assert_eq!(dependencies.len(), 5);
}

#[test]
fn an_old_licence_notation_becomes_an_expression_and_the_standard_library_is_no_crate() {
    let krate = |name: &str| Crate {
        name: name.into(),
        version: "1.0.0".into(),
        licence: Some("MIT/Apache-2.0".into()),
        sha256: None,
    };
    let (_, document) = parts(&[], &[krate("bytes"), krate(RUST_STD)], &[]);
    assert_eq!(document["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert_eq!(document["components"][0]["purl"], "pkg:cargo/bytes@1.0.0");
    assert_eq!(document["components"][1]["purl"], "pkg:generic/rust-std@1.0.0");
}

#[test]
fn the_crates_of_this_very_workspace_are_found_with_checksums_and_without_macros_and_test_tools() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let crates = crates(&workspace, &["homebolt-boot"], "x86_64-unknown-linux-gnu").unwrap();
    let find = |name: &str| crates.iter().find(|krate| krate.name == name);
    assert_eq!(find("serde_json").unwrap().sha256.as_ref().unwrap().len(), 64);
    assert_eq!(find("homebolt-boot").unwrap().sha256, None);
    assert!(find(RUST_STD).unwrap().version.starts_with("1."));
    for absent in ["syn", "thiserror-impl", "proptest", "axum"] {
        assert!(find(absent).is_none(), "{absent} is not in the program");
    }
    let missing = super::crates(&workspace, &["no-such-program"], "x86_64-unknown-linux-gnu");
    assert!(matches!(missing, Err(Error::NoPackage(_))));
}
