use super::*;

#[test]
fn the_slot_images_come_out_as_the_manifest_says_and_a_changed_image_is_refused() {
    let made = crate::verify::tests::make();
    let folder = tempfile::tempdir().unwrap();
    slots::extract(&made.image, &made.manifest, folder.path()).unwrap();
    for name in ["boot", "root"] {
        let file = folder.path().join(format!("{name}.img"));
        let expected = made.manifest.slot(name).unwrap();
        assert_eq!(image::sum(&file).unwrap(), image::Sum { size: expected.size, sha256: expected.sha256.clone() });
    }
    let mut other = made.manifest.clone();
    other.slots.iter_mut().for_each(|slot| slot.sha256 = "00".repeat(32));
    let refused = slots::extract(&made.image, &other, folder.path());
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
}

#[test]
fn notes_are_read_by_language_and_english_is_required() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("de.txt"), "Neu\n").unwrap();
    assert!(matches!(read_notes(folder.path()), Err(Error::NoEnglish(_))));
    fs::write(folder.path().join("en.txt"), "New\n").unwrap();
    fs::write(folder.path().join("readme.md"), "not for boxes").unwrap();
    let notes = read_notes(folder.path()).unwrap();
    assert_eq!(notes.into_iter().collect::<Vec<_>>(), [("de".into(), "Neu".into()), ("en".into(), "New".into())]);
}
