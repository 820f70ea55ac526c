//! What a person adds to Buildroot's configuration: `BR2_…` variables of the environment, and `--jobs`.

/// Not settings: Buildroot reads them itself, or we set them.
const NOT_SETTINGS: [&str; 4] = ["BR2_EXTERNAL", "BR2_DEFCONFIG", "BR2_CONFIG", "BR2_DL_DIR"];

/// Lines to be put behind the configuration, in the order of their names. `patches` is our folder of hashes and patches:
/// one that is named comes behind it and does not take its place.
pub fn lines(environment: impl IntoIterator<Item = (String, String)>, jobs: usize, patches: &str) -> Vec<String> {
    let mut lines = vec![format!("BR2_JLEVEL={jobs}")];
    for (name, value) in environment {
        if !name.starts_with("BR2_") || NOT_SETTINGS.contains(&&*name) || value.contains(['\n', '"']) {
            continue;
        }
        let value = if name == "BR2_GLOBAL_PATCH_DIR" { format!("{patches} {value}") } else { value };
        lines.push(match &*value {
            "n" => format!("# {name} is not set"),
            "y" => format!("{name}=y"),
            number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{name}={number}")
            }
            text => format!("{name}=\"{text}\""),
        });
    }
    lines.sort();
    lines
}

/// The configuration without what says only how it is built: two that differ in nothing else give the same system.
pub fn content(configuration: &str) -> String {
    // The last is git's name for our commit: what counts of that is in the key by itself.
    const HOW: [&str; 6] = [
        "BR2_JLEVEL",
        "BR2_CCACHE",
        "BR2_PRIMARY_SITE",
        "BR2_BACKUP_SITE",
        "BR2_DL_DIR",
        "BR2_EXTERNAL_HOMEBOLT_VERSION",
    ];
    let says_how = |line: &&str| HOW.iter().any(|name| line.trim_start_matches("# ").starts_with(name));
    configuration.lines().filter(|line| !says_how(line)).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Vec<String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        lines(pairs, 2, "/ours")
    }

    #[test]
    fn variables_of_buildroots_become_lines_of_its_configuration() {
        let given = [
            ("BR2_CCACHE", "y"),
            ("BR2_PRIMARY_SITE", "http://cache.lan/dl"),
            ("BR2_PRIMARY_SITE_ONLY", "n"),
            ("HOME", "/root"),
        ];
        assert_eq!(
            of(&given),
            [
                "# BR2_PRIMARY_SITE_ONLY is not set",
                "BR2_CCACHE=y",
                "BR2_JLEVEL=2",
                "BR2_PRIMARY_SITE=\"http://cache.lan/dl\"",
            ]
        );
    }

    #[test]
    fn a_folder_of_patches_is_added_to_ours() {
        assert_eq!(of(&[("BR2_GLOBAL_PATCH_DIR", "/mine")])[0], "BR2_GLOBAL_PATCH_DIR=\"/ours /mine\"");
    }

    #[test]
    fn what_is_ours_to_say_or_would_break_the_file_is_left_out() {
        assert_eq!(of(&[("BR2_EXTERNAL", "/x"), ("BR2_DL_DIR", "/dl"), ("BR2_X", "a\nb")]), ["BR2_JLEVEL=2"]);
    }

    #[test]
    fn how_many_jobs_which_cache_and_which_commit_make_no_other_system() {
        let one = "BR2_x86_64=y\nBR2_JLEVEL=2\n# BR2_CCACHE is not set\n";
        let other = "BR2_x86_64=y\nBR2_JLEVEL=8\nBR2_CCACHE=y\nBR2_CCACHE_DIR=\"/c\"\n";
        assert_eq!(content(one), content(other));
        let of_commit = |commit: &str| format!("BR2_EXTERNAL_HOMEBOLT_VERSION=\"-g{commit}\"\n{one}");
        assert_eq!(content(&of_commit("e5bfaec")), content(&of_commit("1088de2")));
        assert_ne!(content(one), content(&one.replace("x86_64", "aarch64")));
    }
}
