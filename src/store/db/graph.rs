//! The whole graph of references in memory, for the collector: some 20 bytes a path and 4 a reference beside the names.

use std::collections::HashMap;

use super::{Database, DbError};
use crate::store::StorePath;

/// All valid paths, each by its index, and what they refer to. The indices are in the order of the paths' names.
#[derive(Debug, Default)]
pub struct Graph {
    paths: Vec<StorePath>,
    ids: Vec<i64>,
    nar_sizes: Vec<u64>,
    // The references of the path n are those from starts[n] up to starts[n + 1].
    starts: Vec<u32>,
    references: Vec<u32>,
    // Pairs of a derivation and an output of it, both valid, where the output says that it was built from it.
    outputs: Vec<(u32, u32)>,
    // The same as the derivation declares it.
    declared: Vec<(u32, u32)>,
}

impl Graph {
    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The index of `path`.
    pub fn index(&self, path: &StorePath) -> Option<u32> {
        let index = self.paths.binary_search(path).ok()?;
        u32::try_from(index).ok()
    }

    /// The indices of the paths with the hash part `hash_part`: one at most in a sound store.
    pub fn with_hash_part(&self, hash_part: &str) -> impl Iterator<Item = u32> {
        let start = self.paths.partition_point(|path| path.hash_part() < hash_part);
        let same = self.paths.get(start..).unwrap_or_default().iter();
        let count = same.take_while(|path| path.hash_part() == hash_part).count();
        (start..start + count).filter_map(|index| u32::try_from(index).ok())
    }

    /// The path at `index`.
    pub fn path(&self, index: u32) -> Option<&StorePath> {
        self.paths.get(index as usize)
    }

    /// The size of its NAR.
    pub fn nar_size(&self, index: u32) -> u64 {
        self.nar_sizes.get(index as usize).copied().unwrap_or(0)
    }

    /// What the path at `index` refers to.
    pub fn references(&self, index: u32) -> &[u32] {
        let index = index as usize;
        let (Some(&start), Some(&end)) = (self.starts.get(index), self.starts.get(index + 1)) else {
            return &[];
        };
        self.references
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    /// Pairs of a derivation and an output that was built from it.
    pub fn outputs(&self) -> &[(u32, u32)] {
        &self.outputs
    }

    /// Pairs of a derivation and an output that it declares, whatever that was built from.
    pub fn declared_outputs(&self) -> &[(u32, u32)] {
        &self.declared
    }

    pub(super) fn id(&self, index: u32) -> Option<i64> {
        self.ids.get(index as usize).copied()
    }
}

impl Database {
    /// Reads all paths and references in one snapshot.
    pub fn graph(&self) -> Result<Graph, DbError> {
        let _snapshot = self.connection.unchecked_transaction()?;
        let mut graph = Graph::default();
        let mut by_id: HashMap<i64, u32> = HashMap::new();
        let mut derivers: Vec<(u32, StorePath)> = Vec::new();
        let mut statement = self
            .connection
            .prepare("select path, id, coalesce(narSize, 0), deriver from ValidPaths order by path")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let index = u32::try_from(graph.paths.len()).map_err(|_| rusqlite::Error::InvalidQuery)?;
            let _none = by_id.insert(row.get(1)?, index);
            graph
                .paths
                .push(self.parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
            graph.ids.push(row.get(1)?);
            graph
                .nar_sizes
                .push(u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0));
            let deriver = row.get_ref(3)?.as_str_or_null().map_err(rusqlite::Error::from)?;
            // A deriver that can't be parsed is none that could be valid.
            if let Some(deriver) = deriver.and_then(|deriver| self.parse(deriver).ok()) {
                derivers.push((index, deriver));
            }
        }
        // In two passes without a sort: how many each has, then which.
        graph.starts = vec![0; graph.paths.len() + 1];
        let mut statement = self.connection.prepare("select referrer, reference from Refs")?;
        let mut rows = statement.query([])?;
        let mut total = 0;
        while let Some(row) = rows.next()? {
            if let Some(slot) = by_id
                .get(&row.get(0)?)
                .and_then(|&index| graph.starts.get_mut(index as usize + 1))
            {
                *slot += 1;
                total += 1;
            }
        }
        drop(rows);
        let mut sum = 0u32;
        for slot in &mut graph.starts {
            sum = sum.saturating_add(*slot);
            *slot = sum;
        }
        let mut next = graph.starts.clone();
        graph.references = vec![0; total];
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (Some(&referrer), Some(&reference)) = (by_id.get(&row.get(0)?), by_id.get(&row.get(1)?))
            else {
                continue;
            };
            if let Some(position) = next.get_mut(referrer as usize) {
                if let Some(slot) = graph.references.get_mut(*position as usize) {
                    *slot = reference;
                }
                *position += 1;
            }
        }
        let pairs = derivers
            .iter()
            .filter_map(|(output, deriver)| Some((graph.index(deriver)?, *output)));
        graph.outputs = pairs.collect();
        let mut statement = self
            .connection
            .prepare("select drv, path from DerivationOutputs")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            // An output that was never built has no valid path.
            let output = row
                .get_ref(1)?
                .as_str()
                .ok()
                .and_then(|path| self.parse(path).ok());
            let output = output.and_then(|output| graph.index(&output));
            if let (Some(&derivation), Some(output)) = (by_id.get(&row.get(0)?), output) {
                graph.declared.push((derivation, output));
            }
        }
        Ok(graph)
    }

    /// Makes the paths at `indices` of `graph` invalid in one transaction, in this order, and returns those that stay,
    /// because a path that was registered after `graph` was read refers to them.
    pub fn invalidate_unreferenced(&mut self, graph: &Graph, indices: &[u32]) -> Result<Vec<u32>, DbError> {
        if self.invalidate_together(graph, indices)? {
            return Ok(Vec::new());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut kept = Vec::new();
        {
            let mut referrer = transaction
                .prepare_cached("select 1 from Refs where reference = ?1 and referrer <> ?1 limit 1")?;
            let mut path = transaction.prepare_cached("delete from ValidPaths where id = ?")?;
            for &index in indices {
                let Some(id) = graph.id(index) else { continue };
                if referrer.exists([id])? {
                    kept.push(index);
                } else {
                    let _rows = path.execute([id])?;
                }
            }
        }
        transaction.commit()?;
        Ok(kept)
    }

    /// The same when nothing else refers to any of them: whether that is so. In the order of their numbers, in which the
    /// rows lie, and without the schema's cascade, which has a journal for each row.
    fn invalidate_together(&mut self, graph: &Graph, indices: &[u32]) -> Result<bool, DbError> {
        let mut ids: Vec<i64> = indices.iter().filter_map(|&index| graph.id(index)).collect();
        ids.sort_unstable();
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut references = transaction.prepare_cached("delete from Refs where referrer = ?")?;
            for id in &ids {
                let _rows = references.execute([id])?;
            }
            let mut referrer =
                transaction.prepare_cached("select 1 from Refs where reference = ? limit 1")?;
            let mut path = transaction.prepare_cached("delete from ValidPaths where id = ?")?;
            for id in &ids {
                if referrer.exists([id])? {
                    // Dropped, the transaction changes nothing.
                    return Ok(false);
                }
                let _rows = path.execute([id])?;
            }
        }
        transaction.commit()?;
        Ok(true)
    }
}
