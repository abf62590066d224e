//! Closures over references and over referrers, and the shortest way from one path to another.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Database, DbError};
use crate::store::StorePath;

/// Along which edges a closure goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To what a path refers to: what it needs.
    References,
    /// To what refers to a path: what breaks without it.
    Referrers,
}

impl Direction {
    // The first is answered from an index alone, in its order, without a look at the table.
    fn sql(self) -> &'static str {
        match self {
            Self::References => {
                "select referrer, reference from Refs where referrer between ? and ? order by referrer"
            }
            Self::Referrers => {
                "select reference, referrer from Refs where reference between ? and ? order by reference"
            }
        }
    }
}

/// Ids that are so close together are asked for at once: what is registered together is mostly needed together, and a row in
/// vain costs less than a question.
const NEAR: i64 = 2;

/// First and last ones of runs of ids that are close together.
fn runs(sorted: &[i64]) -> impl Iterator<Item = (i64, i64)> {
    sorted
        .chunk_by(|id, next| next - id <= NEAR)
        .filter_map(|run| Some((*run.first()?, *run.last()?)))
}

impl Database {
    /// `roots` and all that they reach, in order. Each root must be valid.
    pub fn closure(&self, roots: &[StorePath], direction: Direction) -> Result<Vec<StorePath>, DbError> {
        // One snapshot: a path that is deleted meanwhile is there as a whole or not at all.
        let _snapshot = self.connection.unchecked_transaction()?;
        let mut seen: HashSet<i64> = roots
            .iter()
            .map(|root| self.known_id(root))
            .collect::<Result<_, _>>()?;
        let mut edges = self.connection.prepare_cached(direction.sql())?;
        let mut waiting: Vec<i64> = seen.iter().copied().collect();
        while !waiting.is_empty() {
            waiting.sort_unstable();
            let mut found = Vec::new();
            for (first, last) in runs(&waiting) {
                let mut rows = edges.query([first, last])?;
                while let Some(row) = rows.next()? {
                    if waiting.binary_search(&row.get(0)?).is_ok() {
                        let next = row.get(1)?;
                        if seen.insert(next) {
                            found.push(next);
                        }
                    }
                }
            }
            waiting = found;
        }
        let mut ids: Vec<i64> = seen.iter().copied().collect();
        ids.sort_unstable();
        let mut paths = Vec::with_capacity(ids.len());
        let mut names = self
            .connection
            .prepare_cached("select id, path from ValidPaths where id between ? and ?")?;
        for (first, last) in runs(&ids) {
            let mut rows = names.query([first, last])?;
            while let Some(row) = rows.next()? {
                if seen.contains(&row.get(0)?) {
                    paths.push(self.parse(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?);
                }
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }

    /// The shortest chain of references from `from` to `to`, both included; nothing when `from` doesn't reach it.
    pub fn chain(&self, from: &StorePath, to: &StorePath) -> Result<Option<Vec<StorePath>>, DbError> {
        let _snapshot = self.connection.unchecked_transaction()?;
        let (start, end) = (self.known_id(from)?, self.known_id(to)?);
        // For each id the one that it was reached from.
        let mut reached: HashMap<i64, i64> = HashMap::from([(start, start)]);
        let mut waiting = VecDeque::from([start]);
        let mut edges = self
            .connection
            .prepare_cached("select reference from Refs where referrer = ?")?;
        while let Some(id) = waiting.pop_front() {
            if id == end {
                break;
            }
            let mut rows = edges.query([id])?;
            while let Some(row) = rows.next()? {
                let next = row.get(0)?;
                let _source = reached.entry(next).or_insert_with(|| {
                    waiting.push_back(next);
                    id
                });
            }
        }
        if !reached.contains_key(&end) {
            return Ok(None);
        }
        let mut chain = vec![end];
        let mut at = end;
        while at != start {
            at = reached.get(&at).copied().unwrap_or(start);
            chain.push(at);
        }
        chain
            .into_iter()
            .rev()
            .map(|id| self.path_of(id))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn path_of(&self, id: i64) -> Result<StorePath, DbError> {
        let path: String = self
            .connection
            .prepare_cached("select path from ValidPaths where id = ?")?
            .query_row([id], |row| row.get(0))?;
        self.parse(&path)
    }
}
