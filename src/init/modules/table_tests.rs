#![allow(clippy::unwrap_used, unused_results)]
use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = "keel-modules 1 6.12.107+deb13-amd64
module nvme_core kernel/drivers/nvme/host/nvme-core.ko
module nvme kernel/drivers/nvme/host/nvme.ko
depends 0
before 2
after 0 2
options use_threaded_interrupts=1 name=\"two words\"
module crc32c_generic kernel/crypto/crc32c_generic.ko
alias 1 pci:v*d*sv*sd*bc01sc08i02*
alias 2 crypto-crc32c
builtin vfat
builtin-alias fs-vfat
blacklist floppy
end
";

#[test]
fn the_text_form_is_read_and_written() {
    let table = Table::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(table.to_bytes()).unwrap(), EXAMPLE);
    assert_eq!(table.find("nvme-core"), Some(0));
    assert_eq!(table.find("nvm"), None);
    let nvme = "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02";
    assert_eq!(table.matching(nvme).collect::<Vec<_>>(), [1]);
    assert_eq!(table.matching("crypto_crc32c").collect::<Vec<_>>(), [2]);
}

#[test]
fn damage_is_named_with_its_line() {
    let cases = [
        ("", 1, TableProblem::Header),
        ("keel-modules 2 6.12\nend\n", 1, TableProblem::Header),
        ("keel-modules 1 ..\nend\n", 1, TableProblem::Name("..".to_owned())),
        ("keel-modules 1 6.12\n", 2, TableProblem::Keyword(String::new())),
        ("keel-modules 1 6.12\nbuiltin a", 2, TableProblem::Truncated),
        ("keel-modules 1 6.12\nend\nbuiltin a\n", 3, TableProblem::Trailing),
        (
            "keel-modules 1 6.12\nfoo a\nend\n",
            2,
            TableProblem::Keyword("foo".to_owned()),
        ),
        ("keel-modules 1 6.12\ndepends 0\nend\n", 2, TableProblem::NoModule),
        (
            "keel-modules 1 6.12\nmodule a ../b\nend\n",
            2,
            TableProblem::File("../b".to_owned()),
        ),
        (
            "keel-modules 1 6.12\nmodule a /b\nend\n",
            2,
            TableProblem::File("/b".to_owned()),
        ),
        (
            "keel-modules 1 6.12\nmodule a b\ndepends 0 1\nend\n",
            3,
            TableProblem::Index("1".to_owned()),
        ),
        (
            "keel-modules 1 6.12\nmodule a b\nalias -1 x\nend\n",
            3,
            TableProblem::Index("-1".to_owned()),
        ),
        (
            "keel-modules 1 6.12\nmodule a b\noptions \0\nend\n",
            3,
            TableProblem::Options,
        ),
        (
            "keel-modules 1 6.12\nmodule a b\nmodule a c\nend\n",
            3,
            TableProblem::Modules("a".to_owned()),
        ),
        (
            "keel-modules 1 6.12\nbuiltin a b\nend\n",
            2,
            TableProblem::Name("a b".to_owned()),
        ),
    ];
    for (text, line, problem) in cases {
        assert_eq!(
            Table::parse(text.as_bytes()),
            Err(TableError { line, problem }),
            "{text}"
        );
    }
    let error = Table::parse(b"keel-modules 1 6.12\n\xff\nend\n").unwrap_err();
    assert_eq!(error.to_string(), "line 2: it isn't UTF-8 text");
}

#[test]
fn a_cut_table_is_never_taken_for_a_whole_one() {
    for length in 0..EXAMPLE.len() - 1 {
        assert!(
            Table::parse(EXAMPLE.get(..length).unwrap().as_bytes()).is_err(),
            "{length}"
        );
    }
}

fn tables() -> impl Strategy<Value = Table> {
    let name = "[a-z0-9_]{1,8}";
    let pattern = "[a-z*?:,_\\[\\]!-]{1,12}";
    (
        prop::collection::btree_set(name, 1..8),
        prop::collection::vec(name, 0..4),
    )
        .prop_flat_map(move |(names, others)| {
            let count = names.len();
            let indices = || prop::collection::vec(0..count, 0..4);
            let module = (indices(), indices(), indices(), "([a-z=\" ]{0,10}[a-z])?");
            (
                Just(names),
                Just(others),
                prop::collection::vec(module, count),
                prop::collection::vec((pattern, 0..count), 0..8),
                prop::collection::vec(pattern, 0..4),
            )
                .prop_map(|(names, others, modules, aliases, builtin_aliases)| Table {
                    kernel: "6.12.1-x".to_owned(),
                    modules: names
                        .into_iter()
                        .zip(modules)
                        .map(|(name, (depends, soft_before, soft_after, options))| Module {
                            file: format!("kernel/{name}.ko"),
                            name,
                            depends,
                            soft_before,
                            soft_after,
                            options,
                        })
                        .collect(),
                    aliases,
                    builtin: others.clone(),
                    builtin_aliases,
                    blacklist: others,
                })
        })
}

proptest! {
    #[test]
    fn tables_survive_their_text_form(table in tables()) {
        prop_assert_eq!(Table::parse(&table.to_bytes()), Ok(table));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
        let _ = Table::parse(&bytes);
    }

    #[test]
    fn any_change_is_refused_or_read(place in 0..EXAMPLE.len(), byte: u8) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes.splice(place..=place, [byte]);
        if let Ok(table) = Table::parse(&bytes) {
            prop_assert_eq!(Table::parse(&table.to_bytes()), Ok(table));
        }
    }

    #[test]
    fn the_index_finds_what_a_look_at_each_alias_finds(table in tables(), alias in "[a-c:_-]{0,8}") {
        let index = Index::new(table.aliases.iter().map(|(pattern, module)| (pattern.as_str(), *module)));
        prop_assert_eq!(index.matching(&alias).collect::<Vec<_>>(), table.matching(&alias).collect::<Vec<_>>());
    }
}
