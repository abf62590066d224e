//! What holds for all texts and declarations.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]

use proptest::prelude::*;

use super::tests::typical;
use super::*;
use crate::system::declared::{Declared, Group, User};

/// Few names and numbers, so that they meet.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "d", "root"]).prop_map(String::from),
        1 => "[a+:\n,]{0,3}",
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![0, 900, 901, 902, 1000, 1001, 65535, 100_000, u32::MAX])
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![6 => prop::sample::select(vec!["", "/", "/x"]).prop_map(String::from), 1 => "[:\n/]{1,2}"]
}

fn any_declared() -> impl Strategy<Value = Declared> {
    let user = (name(), number(), number(), field(), field(), field()).prop_map(
        |(name, uid, gid, gecos, home, shell)| User {
            name,
            uid,
            gid,
            gecos,
            home,
            shell,
            ..User::default()
        },
    );
    let group = (name(), number(), prop::collection::vec(name(), 0..3))
        .prop_map(|(name, gid, members)| Group { name, gid, members });
    (
        prop::collection::vec(user, 0..5),
        prop::collection::vec(group, 0..5),
    )
        .prop_map(|(users, groups)| Declared { users, groups })
}

fn password() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["x", "*", "!", "!*", "", "$y$secret"]).prop_map(String::from)
}

fn other() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "#c",
        "+",
        "-b",
        "+::::::",
        "broken",
        "a:x",
        "b:x:900:y:",
    ])
    .prop_map(String::from)
}

fn text_of(line: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![4 => line, 1 => other()];
    (prop::collection::vec(line, 0..6), any::<bool>()).prop_map(|(lines, newline)| {
        let mut text = lines.join("\n");
        if newline {
            text.push('\n');
        }
        text.into_bytes()
    })
}

fn any_texts() -> impl Strategy<Value = Texts> {
    let members = || prop::collection::vec(name(), 0..3).prop_map(|names| names.join(","));
    let passwd = (name(), password(), number(), number(), field(), field())
        .prop_map(|(name, pw, uid, gid, home, shell)| format!("{name}:{pw}:{uid}:{gid}::{home}:{shell}"));
    let group = (name(), password(), number(), members())
        .prop_map(|(name, pw, gid, members)| format!("{name}:{pw}:{gid}:{members}"));
    let shadow = (name(), password()).prop_map(|(name, pw)| format!("{name}:{pw}:1::::::"));
    let gshadow = (name(), password(), members(), members())
        .prop_map(|(name, pw, admins, members)| format!("{name}:{pw}:{admins}:{members}"));
    let sub = || {
        (name(), 0..200_000_u32, 0..70_000_u32)
            .prop_map(|(name, start, count)| format!("{name}:{start}:{count}"))
    };
    let of = prop::option::of::<BoxedStrategy<Vec<u8>>>;
    (
        of(text_of(passwd).boxed()),
        of(text_of(group).boxed()),
        of(text_of(shadow).boxed()),
        of(text_of(gshadow).boxed()),
        of(text_of(sub()).boxed()),
        of(text_of(sub()).boxed()),
    )
        .prop_map(|(passwd, group, shadow, gshadow, subuid, subgid)| {
            [
                (File::Passwd, passwd),
                (File::Group, group),
                (File::Shadow, shadow),
                (File::Gshadow, gshadow),
                (File::Subuid, subuid),
                (File::Subgid, subgid),
            ]
            .into_iter()
            .filter_map(|(file, text)| Some((file, text?)))
            .collect()
        })
}

fn table(texts: &Texts, file: File) -> Table {
    Table::parse(file, texts.get(&file).map_or(&[], Vec::as_slice))
}

/// The lines that no parser understands, in order.
fn rest(texts: &Texts, file: File) -> Vec<Vec<u8>> {
    let text = texts.get(&file).cloned().unwrap_or_default();
    let text = text.strip_suffix(b"\n").map_or(text.clone(), <[u8]>::to_vec);
    text.split(|byte| *byte == b'\n')
        .filter(|line| Table::parse(file, line).entries().next().is_none() && !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn merges_keep_their_promises(current in any_texts(), new in any_declared(), old in prop::option::of(any_declared())) {
        let plan = merge(&current, &new, old.as_ref());
        // A second time there is nothing to do, after a crash (old declaration) or not (new one).
        for previous in [old.as_ref(), Some(&new)] {
            let again = merge(&plan.files, &new, previous);
            prop_assert_eq!(&again.steps, &vec![]);
            prop_assert_eq!(&again.files, &plan.files);
        }
        prop_assert_eq!(plan.steps.is_empty(), plan.files == current);
        for (main, secret) in [(File::Passwd, File::Shadow), (File::Group, File::Gshadow)] {
            let (main_before, secret_before) = (table(&current, main), table(&current, secret));
            let (main_after, secret_after) = (table(&plan.files, main), table(&plan.files, secret));
            for before in main_before.entries() {
                let first = main_before.find(before.name()).unwrap();
                let Some(was) = shadow::password(first, &secret_before) else { continue };
                match main_after.find(before.name()) {
                    Some(after) => {
                        prop_assert_eq!(Some(was), shadow::password(after, &secret_after));
                        prop_assert_eq!(first.number(2), after.number(2));
                    }
                    None => prop_assert!(shadow::is_locked(Some(was)) && before.number(2) < Some(1000)),
                }
            }
            // Nobody new gets in, and everybody has both lines.
            for after in main_after.entries() {
                prop_assert!(secret_after.find(after.name()).is_some());
                if main_before.find(after.name()).is_none() && secret_before.find(after.name()).is_none() {
                    prop_assert!(shadow::is_locked(shadow::password(after, &secret_after)));
                }
            }
        }
        for file in File::ALL {
            prop_assert_eq!(rest(&current, file), rest(&plan.files, file));
        }
    }

    #[test]
    fn any_bytes_are_kept(text in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b":\n#+,09ax".to_vec())], 0..200)) {
        for file in File::ALL {
            prop_assert_eq!(&Table::parse(file, &text).render(), &text);
            let current = Texts::from([(file, text.clone())]);
            let _ = merge(&current, &typical(), None);
        }
    }
}
