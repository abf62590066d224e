//! The files of accounts and their merge.

use keel::system::accounts::{File, Table, Texts, merge};
use keel::system::declared::Declared;

use super::input::parts;

/// The files by their names, then `declared` and `previous` as JSON.
pub(crate) fn merges(data: &[u8]) {
    let mut texts = Texts::new();
    let (mut declared, mut previous) = (Declared::default(), None);
    for (title, text) in parts(data) {
        match title {
            "declared" => declared = serde_json::from_slice(text).unwrap_or_default(),
            "previous" => previous = serde_json::from_slice::<Declared>(text).ok(),
            _ => {
                for file in File::ALL {
                    assert_eq!(
                        Table::parse(file, text).render(),
                        text,
                        "{file} isn't kept as it is"
                    );
                    if file.name() == title {
                        let _last = texts.insert(file, text.to_vec());
                    }
                }
            }
        }
    }
    let plan = merge(&texts, &declared, previous.as_ref());
    assert_eq!(plan.steps.is_empty(), plan.files == texts, "{:?}", plan.steps);
    for previous in [previous.as_ref(), Some(&declared)] {
        let again = merge(&plan.files, &declared, previous);
        assert_eq!(again.steps, [], "a second merge has something to do");
        assert_eq!(again.files, plan.files);
    }
    // Nobody gets in who couldn't before: what is new is locked.
    let of = |texts: &Texts, file: File| Table::parse(file, texts.get(&file).map_or(&[], Vec::as_slice));
    let (before, after) = (of(&texts, File::Shadow), of(&plan.files, File::Shadow));
    let accounts = of(&texts, File::Passwd);
    for entry in after
        .entries()
        .filter(|entry| before.find(entry.name()).is_none())
    {
        let was = accounts.find(entry.name()).map(|account| account.get(1));
        let locked = entry.get(1).starts_with(b"!") || entry.get(1).starts_with(b"*");
        assert!(
            locked || was == Some(entry.get(1)),
            "a new account that isn't locked"
        );
    }
}
