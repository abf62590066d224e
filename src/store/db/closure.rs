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
    // Both are answered from an index alone, without a look at the table.
    fn sql(self) -> &'static str {
        match self {
            Self::References => "select reference from Refs where referrer = ?",
            Self::Referrers => "select referrer from Refs where reference = ?",
        }
    }
}

impl Database {
    /// `roots` and all that they reach, in order. Each root must be valid.
    pub fn closure(&self, roots: &[StorePath], direction: Direction) -> Result<Vec<StorePath>, DbError> {
        // One snapshot: a path that is deleted meanwhile is there as a whole or not at all.
        let _snapshot = self.connection.unchecked_transaction()?;
        let mut waiting: Vec<i64> = roots
            .iter()
            .map(|root| self.known_id(root))
            .collect::<Result<_, _>>()?;
        let mut seen: HashSet<i64> = waiting.iter().copied().collect();
        let mut edges = self.connection.prepare_cached(direction.sql())?;
        while let Some(id) = waiting.pop() {
            let mut rows = edges.query([id])?;
            while let Some(row) = rows.next()? {
                let next = row.get(0)?;
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        // In the order of the table, so that each of its pages is read once.
        let mut ids: Vec<i64> = seen.into_iter().collect();
        ids.sort_unstable();
        let mut paths: Vec<StorePath> = ids
            .into_iter()
            .map(|id| self.path_of(id))
            .collect::<Result<_, _>>()?;
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
        let mut edges = self.connection.prepare_cached(Direction::References.sql())?;
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
