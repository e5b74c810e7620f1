//! A compiled table as numbers, for the next start of the process: the views' lookup tables and lists.
//!
//! What follows quickly from the fleet (names, members, contenders) is made again; so are the maps that
//! a change of a few routes builds on, by the first such change. Whoever keeps it knows which table,
//! geography and settings it belongs to; here only what could make a lookup fail is checked.

use super::view::{Kind, ListId, Lists, Members, Place, Value, View, ViewSpec};
use super::{Compiled, Compiler, Settings, names_and_contenders, specs_of};
use crate::columns::{Sink, Source, damaged};
use crate::fleet::{ClusterId, Fleet};
use crate::geo::Geography;
use crate::lpm::Lpm;
use crate::table::Table;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Version of the form; goes into the key of whoever keeps it.
pub const KEPT_VERSION: &[u8] = b"compiled 1";

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
        let lists = Lists::load(fleet.clusters().len(), from)?;
        let is_value = |value: u32| (Value::from_raw(value).list().0 as usize) < lists.len();
        let v4 = Lpm::load(from, is_value)?;
        let v6 = Lpm::load(from, is_value)?;
        let members = Arc::new(Members::of(fleet, &spec.tags));
        Ok(Self { spec, members, lists: Arc::new(lists), v4, v6 })
    }
}

impl Lists {
    /// Writes where lists end, and their clusters and kinds.
    fn save(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        out.array(&self.ends)?;
        let clusters: Vec<u32> = self.places.iter().map(|place| place.cluster.index() as u32).collect();
        let kinds: Vec<u8> = self.places.iter().map(|place| place.kind as u8).collect();
        out.array(&clusters)?;
        out.array(&kinds)
    }

    /// Reads the same; `clusters` are in the fleet.
    fn load(clusters: usize, from: &mut Source<impl Read>) -> io::Result<Self> {
        let ends: Vec<u32> = from.array()?;
        let cluster_ids: Vec<u32> = from.array()?;
        let kinds: Vec<u8> = from.array()?;
        let is_whole = ends.is_sorted()
            && ends.len() > ListId::TRANSITION.0 as usize
            && ends.last().is_some_and(|&end| end as usize == cluster_ids.len())
            && cluster_ids.len() == kinds.len();
        if !is_whole || cluster_ids.iter().any(|&id| id as usize >= clusters) {
            return Err(damaged("lists that are none"));
        }
        let place = |(&cluster, &kind): (&u32, &u8)| {
            let kind = [Kind::Route, Kind::Geo, Kind::Default].into_iter().find(|one| *one as u8 == kind);
            Some(Place { cluster: ClusterId::at(cluster as usize), kind: kind? })
        };
        let places = cluster_ids.iter().zip(&kinds).map(place).collect::<Option<Vec<_>>>();
        Ok(Self { ends, places: places.ok_or_else(|| damaged("a kind that is none"))? })
    }
}
