#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unused_results
)]
use super::*;
use crate::store::nar::NarHash;

const NAR: NarHash = NarHash {
    sha256: [0xab; 32],
    size: 96,
};

fn path(letter: char) -> StorePath {
    let hash: String = std::iter::repeat_n(letter, 32).collect();
    StorePath::from_base_name(&format!("{hash}-{letter}")).unwrap()
}

fn info(letter: char, references: &str) -> PathInfo {
    PathInfo::new(path(letter), NAR, references.chars().map(path).collect())
}

/// d → c → a, d → b → a, a → a; x alone.
fn database() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let mut database = Database::open(dir.path(), "/nix/store").unwrap();
    let all = [
        info('d', "bc"),
        info('c', "a"),
        info('b', "a"),
        info('a', "a"),
        info('x', ""),
    ];
    database.register(&all, 7).unwrap();
    (dir, database)
}

fn names(paths: &[StorePath]) -> String {
    paths.iter().map(StorePath::name).collect()
}

#[test]
fn what_is_registered_is_read_back() {
    let (_dir, mut database) = database();
    let full = PathInfo {
        deriver: Some(path('v')),
        registration_time: 1_700_000_000,
        ultimate: true,
        signatures: vec!["k1:c2ln".into(), "k2:Z2ln".into()],
        ca: Some("text:sha256:0c5b".into()),
        ..info('f', "ax")
    };
    database.register(std::slice::from_ref(&full), 7).unwrap();
    assert_eq!(database.path_info(&path('f')).unwrap(), Some(full.clone()));
    assert_eq!(database.path_info(&path('g')).unwrap(), None);
    let plain = database.path_info(&path('b')).unwrap().unwrap();
    assert_eq!(
        (plain.registration_time, plain.deriver, plain.ultimate),
        (7, None, false)
    );
    // A valid path is left as it is.
    database.register(&[info('f', "")], 9).unwrap();
    assert_eq!(database.path_info(&path('f')).unwrap(), Some(full));
    let by_hash = |hash: &str| database.by_hash_part(hash).unwrap();
    assert_eq!(by_hash(path('c').hash_part()), Some(path('c')));
    assert_eq!(by_hash(path('g').hash_part()), None);
}

#[test]
fn closures_and_chains_go_in_both_directions() {
    let (_dir, database) = database();
    let closure = |letter, direction| names(&database.closure(&[path(letter)], direction).unwrap());
    assert_eq!(closure('d', Direction::References), "abcd");
    assert_eq!(closure('c', Direction::References), "ac");
    assert_eq!(closure('a', Direction::Referrers), "abcd");
    assert_eq!(closure('x', Direction::Referrers), "x");
    assert_eq!(names(&database.referrers(&path('a')).unwrap()), "abc");
    assert_eq!(names(&database.references(&path('a')).unwrap()), "a");
    let chain = |from, to| {
        database
            .chain(&path(from), &path(to))
            .unwrap()
            .map(|all| names(&all))
    };
    assert_eq!(chain('d', 'a').as_deref(), Some("dca"));
    assert_eq!(chain('x', 'x').as_deref(), Some("x"));
    assert_eq!(chain('a', 'd'), None);
    assert!(matches!(
        database.closure(&[path('g')], Direction::References),
        Err(DbError::NotValid(_))
    ));
}

#[test]
fn a_path_that_is_referred_to_is_not_made_invalid() {
    let (_dir, mut database) = database();
    let refused = database.invalidate(&[path('b'), path('a')]).unwrap_err();
    assert!(matches!(refused, DbError::InUse { .. }), "{refused}");
    // All or none.
    assert!(database.is_valid(&path('b')).unwrap());
    assert_eq!(names(&database.references(&path('b')).unwrap()), "a");
    // In any order, with what was never valid among them.
    let all: Vec<_> = "gabcd".chars().map(path).collect();
    database.invalidate(&all).unwrap();
    assert_eq!(names(&database.all_paths().unwrap()), "x");
}

#[test]
fn a_reference_to_what_is_not_valid_registers_nothing() {
    let (_dir, mut database) = database();
    let refused = database
        .register(&[info('h', ""), info('f', "g")], 7)
        .unwrap_err();
    assert!(matches!(refused, DbError::InvalidReference { .. }));
    assert!(!database.is_valid(&path('h')).unwrap());
}

#[test]
fn the_graph_holds_every_reference_and_keeps_what_new_paths_need() {
    let (_dir, mut database) = database();
    let graph = database.graph().unwrap();
    assert_eq!(graph.len(), 5);
    let at = |letter| graph.index(&path(letter)).unwrap();
    let names =
        |indices: &[u32]| -> String { indices.iter().map(|&n| graph.path(n).unwrap().name()).collect() };
    assert_eq!(names(graph.references(at('d'))), "bc");
    assert_eq!(names(graph.references(at('a'))), "a");
    assert_eq!(names(graph.references(at('x'))), "");
    let same: Vec<_> = graph.with_hash_part(path('c').hash_part()).collect();
    assert_eq!(same, [at('c')]);
    assert_eq!(graph.with_hash_part(path('g').hash_part()).count(), 0);
    // Registered after the graph was read.
    database.register(&[info('f', "b")], 7).unwrap();
    let kept = database
        .invalidate_unreferenced(&graph, &[at('d'), at('c'), at('b'), at('a')])
        .unwrap();
    assert_eq!(names(&kept), "ba");
    let left: String = database
        .all_paths()
        .unwrap()
        .iter()
        .map(StorePath::name)
        .collect();
    assert_eq!(left, "abfx");
}

#[test]
fn a_damaged_row_is_an_error_and_no_panic() {
    let (dir, database) = database();
    let raw = Connection::open(dir.path().join("db.sqlite")).unwrap();
    raw.execute(
        "update ValidPaths set hash = 'sha256:+1' where path like '%-b'",
        [],
    )
    .unwrap();
    raw.execute(
        "update ValidPaths set path = '/etc/passwd' where path like '%-x'",
        [],
    )
    .unwrap();
    assert!(matches!(
        database.path_info(&path('b')),
        Err(DbError::BadHash { .. })
    ));
    assert!(matches!(database.all_paths(), Err(DbError::BadPath(_))));
    assert!(matches!(database.graph(), Err(DbError::BadPath(_))));
}

#[test]
fn several_that_open_a_new_database_at_once_find_it_whole() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    Database::open(&dir.path().join("db"), "/nix/store")
                        .unwrap()
                        .all_paths()
                        .unwrap()
                });
            }
        });
    }
}
