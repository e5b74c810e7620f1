//! A compiled table as numbers, for the next start of the process: the views' lookup tables and lists.
//!
//! What follows quickly from the fleet (names, members, contenders) is made again; so are the maps that
//! a change of a few routes builds on, by the first such change. Whoever keeps it knows which table,
//! geography and settings it belongs to; here only what could make a lookup fail is checked.

use super::list::{ListId, Lists, RowId, Rows};
use super::lists::defaults_of;
use super::view::{Members, Value, View, ViewSpec};
use super::{Compiled, Compiler, Settings, names_and_contenders, specs_of};
use crate::columns::{Sink, Source, damaged};
use crate::fleet::{ClusterId, Fleet};
use crate::geo::Geography;
use crate::lpm::Lpm;
use crate::table::Table;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Version of the form; goes into the key of whoever keeps it.
pub const KEPT_VERSION: &[u8] = b"compiled 2";

impl Compiled {
    /// Writes the views.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn save(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        out.number(self.views.len() as u64)?;
        self.views.iter().try_for_each(|view| {
            view.lists.save(out)?;
            view.v4.save(out)?;
            view.v6.save(out)
        })
    }
}

impl Compiler {
    /// Takes what [`Compiled::save`] wrote of a table that was made of the same `table`, `geography` and
    /// `settings`, in place of compiling them.
    ///
    /// # Errors
    /// Those of the stream; when it holds no views for this table.
    pub fn restore(
        &mut self,
        table: Arc<Table>,
        geography: Arc<Geography>,
        settings: Settings,
        from: &mut Source<impl Read>,
    ) -> io::Result<Arc<Compiled>> {
        let (specs, services) = specs_of(table.fleet());
        if from.number::<u64>()? != specs.len() as u64 {
            return Err(damaged("views of another table"));
        }
        let views = specs.into_iter().map(|spec| View::load(spec, table.fleet(), from).map(Arc::new));
        let views = views.collect::<io::Result<Vec<_>>>()?;
        let (names, contenders) = names_and_contenders(table.fleet());
        *self = Self::new();
        let compiled =
            Compiled { table, geography, settings, views, services, contenders, names, is_complete: true };
        Ok(Arc::new(compiled))
    }
}

impl View {
    /// Reads a view for `spec`.
    fn load(spec: ViewSpec, fleet: &Fleet, from: &mut Source<impl Read>) -> io::Result<Self> {
        let members = Arc::new(Members::of(fleet, &spec.tags));
        let lists = Lists::load(defaults_of(&spec, &members), fleet.clusters().len(), from)?;
        let is_value = |value: u32| (Value::from_raw(value).list().0 as usize) < lists.len();
        let v4 = Lpm::load(from, is_value)?;
        let v6 = Lpm::load(from, is_value)?;
        Ok(Self { spec, members, lists: Arc::new(lists), v4, v6 })
    }
}

impl Lists {
    /// Writes the rows, and of each list which two it has.
    fn save(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        self.routed.save(out)?;
        self.near.save(out)?;
        out.array(&self.pairs.iter().map(|pair| pair.0.0).collect::<Vec<_>>())?;
        out.numbers(&self.pairs.iter().map(|pair| pair.1.0).collect::<Vec<_>>())
    }

    /// Reads the same; each list ends with `defaults`, and there are as many `clusters`.
    fn load(defaults: Box<[ClusterId]>, clusters: usize, from: &mut Source<impl Read>) -> io::Result<Self> {
        let (routed, routed_starts) = Rows::load(clusters, from)?;
        let (near, near_starts) = Rows::load(clusters, from)?;
        let routed_ids: Vec<u32> = from.array()?;
        let near_ids: Vec<u32> = from.numbers(routed_ids.len() as u64)?;
        let is_sound = routed_ids.len() >= ListId::OWN
            && are_starts(&routed_ids, &routed_starts, routed.cells().len())
            && are_starts(&near_ids, &near_starts, near.cells().len());
        if !is_sound {
            return Err(damaged("lists that are none"));
        }
        let pairs = routed_ids.into_iter().zip(near_ids).map(|(a, b)| (RowId(a), RowId(b))).collect();
        Ok(Self { pairs, routed: Arc::new(routed), near: Arc::new(near), defaults })
    }
}

/// Whether each of `ids` is one of `starts`, all of which are below `end`.
fn are_starts(ids: &[u32], starts: &[u32], end: usize) -> bool {
    let mut is_start = vec![false; end];
    starts.iter().for_each(|&start| is_start[start as usize] = true);
    ids.iter().all(|&id| is_start.get(id as usize) == Some(&true))
}

impl Rows {
    /// Writes all.
    fn save(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        out.array(&self.cells().iter().map(|cell| cell.index() as u32).collect::<Vec<_>>())
    }

    /// Reads the same, and where the rows begin.
    fn load(clusters: usize, from: &mut Source<impl Read>) -> io::Result<(Self, Vec<u32>)> {
        let cells: Vec<u32> = from.array()?;
        let cells = cells.into_iter().map(|cell| ClusterId::at(cell as usize)).collect();
        Self::of(cells, clusters).ok_or_else(|| damaged("rows that are none"))
    }
}
