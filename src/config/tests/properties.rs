//! Whatever a file holds, loading it ends, and each problem has a place.

use proptest::prelude::*;

use super::{LEAST, load_all};
use crate::config::options::all;
use crate::config::{Loaded, Problems};

fn holds(result: &Result<Loaded, Problems>, files: &[(&str, &str)]) {
    match result {
        Ok(loaded) => {
            let text = loaded.to_toml().unwrap();
            let mut again = files.to_vec();
            again.retain(|(name, _)| *name != "system.toml");
            again.push(("system.toml", &text));
            let again = load_all(&again, &[]).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
            assert_eq!(again.config, loaded.config);
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in &problems.0 {
                assert!(problem.place.line() >= 1 && problem.place.column() >= 1);
                assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
            }
        }
    }
}

/// A key that is probably an option, with a value that may be its own.
fn line() -> impl Strategy<Value = String> {
    let specs: Vec<(&str, &str)> = all().map(|spec| (spec.path, spec.example)).collect();
    let other = prop_oneof![
        Just("1".to_owned()),
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{ force = \"a\" }".to_owned()),
        Just("{ default = [1] }".to_owned()),
        "\"[a-z/=: ]{0,6}\"".prop_map(|text| text),
        "[0-9.]{1,4}",
    ];
    let names = prop_oneof![
        Just("a"),
        Just("\"/\""),
        Just("\"a.service\""),
        Just("\"::1\""),
        Just("A")
    ];
    (proptest::sample::select(specs), any::<bool>(), other, names).prop_map(
        |((path, example), own, other, name)| {
            let words: Vec<&str> = path
                .split('.')
                .map(|word| {
                    if word.starts_with('<') {
                        name
                    } else {
                        word.trim_end_matches("[]")
                    }
                })
                .collect();
            let value = if own { example.to_owned() } else { other };
            format!("{} = {value}\n", words.join("."))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn of_lines_that_look_like_options(lines in proptest::collection::vec(line(), 0..6), more in proptest::collection::vec(line(), 0..4)) {
        let main = format!("imports = [\"b.toml\"]\n{LEAST}{}", lines.concat());
        let more = more.concat();
        let files = [("system.toml", main.as_str()), ("b.toml", more.as_str())];
        holds(&load_all(&files, &[]), &files);
    }

    #[test]
    fn of_any_text(text in "(\\PC|\n|\\[|\\]|=|\"|\\.){0,60}") {
        let files = [("system.toml", text.as_str())];
        holds(&load_all(&files, &[]), &files);
    }

    #[test]
    fn of_any_option(option in "[a-z._=\"\\[\\]{} \n]{0,30}") {
        let files = [("system.toml", LEAST)];
        holds(&load_all(&files, &[&option]), &files);
    }
}
