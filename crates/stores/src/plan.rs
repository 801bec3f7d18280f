//! What there is to pull: the files of the cache in a store, each with what describes it.

use std::collections::{BTreeMap, BTreeSet};

use leadspan_cache::Inventory;
use leadspan_files::is_tokenizer_file;

use crate::{
    StoreError,
    listing::{receipt_of, shard_of},
    names::{self, IDENTITY, INVENTORY, Kind, ORIGIN},
    records::{Description, Identity, Region, hash, parsed},
    store::{Object, Store},
};

/// A small file that is read already.
pub(crate) struct Small {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// A file with the hash that another file states.
pub(crate) struct Stated {
    pub(crate) name: String,
    pub(crate) region: Region,
    /// The file that states it.
    pub(crate) by: String,
}

/// What is copied of work units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Units {
    /// Shards and receipts, and the manifests and the inventory of them.
    Whole,
    /// All of that but the shards.
    WithoutShards,
    /// Nothing: they are only looked at.
    Nothing,
}

/// A work unit of a layer.
pub(crate) struct Unit {
    pub(crate) shard: String,
    pub(crate) receipt: String,
    /// What the inventory says of its shard.
    pub(crate) listed: Option<Region>,
}

/// The files of a cache in a store.
pub(crate) struct Plan {
    /// `None` if the store cannot list them.
    pub(crate) objects: Option<BTreeMap<String, Object>>,
    pub(crate) tokenizer: Vec<(String, String)>,
    /// The identities, origin, descriptions and layers.
    pub(crate) small: Vec<Small>,
    pub(crate) data: Vec<Stated>,
    pub(crate) units: Vec<Unit>,
    pub(crate) manifests: Vec<String>,
    pub(crate) inventory: Option<Inventory>,
}

impl Plan {
    /// Reads what describes the cache in a store.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoCache`], [`StoreError::Missing`], [`StoreError::Damaged`] or [`StoreError::BadJson`]; the error of a store
    /// that refuses or does not answer.
    pub(crate) fn make(store: &dyn Store) -> Result<Self, StoreError> {
        let objects = store.list()?;
        let has = |name: &str| objects.as_ref().is_none_or(|objects| objects.contains_key(name));
        if !has(IDENTITY) {
            let url = store.url().to_owned();
            return Err(StoreError::NoCache { url });
        }
        let identity = store.read(IDENTITY)?.ok_or_else(|| StoreError::NoCache {
            url: store.url().to_owned(),
        })?;
        let inventory: Option<Inventory> = match store.read(INVENTORY)? {
            Some(bytes) => Some(parsed(&bytes, &store.url_of(INVENTORY))?),
            None if objects.is_none() => {
                return Err(StoreError::Missing {
                    place: store.url_of(INVENTORY),
                    why: ": the server cannot list its files, so only a complete cache is pulled from there",
                });
            }
            None => None,
        };
        let mut plan = Self {
            objects,
            tokenizer: Vec::new(),
            small: Vec::new(),
            data: Vec::new(),
            units: Vec::new(),
            manifests: Vec::new(),
            inventory,
        };
        let listed = plan
            .inventory
            .as_ref()
            .map(|listed| (listed.identity.clone(), listed.corpus.clone()));
        plan.add_cache(store, "", identity, listed)?;
        plan.add_origin(store)?;
        let replay = "replay/identity.json";
        let listed = plan.inventory.as_ref().and_then(|listed| listed.replay.as_ref());
        let listed = listed.map(|listed| (listed.identity.clone(), listed.corpus.clone()));
        let has_replay = match &plan.objects {
            Some(objects) => objects.contains_key(replay),
            None => listed.is_some(),
        };
        if has_replay || listed.is_some() {
            let identity = required(store, replay, ", and the inventory lists it")?;
            plan.add_cache(store, "replay/", identity, listed)?;
        }
        plan.add_layers(store)?;
        Ok(plan)
    }

    /// Adds the identity, the tokenizer and the corpus of the cache whose files begin with `prefix`. `listed` has the hashes of
    /// its identity and of its descriptions.
    fn add_cache(
        &mut self,
        store: &dyn Store,
        prefix: &str,
        identity: Vec<u8>,
        listed: Option<(String, Vec<String>)>,
    ) -> Result<(), StoreError> {
        let name = format!("{prefix}{IDENTITY}");
        let stated: Identity = parsed(&identity, &store.url_of(&name))?;
        if let Some((blake3, _)) = &listed {
            require_hash(store, &name, &identity, blake3)?;
        }
        for (file, blake3) in stated.tokenizer_files {
            if !is_tokenizer_file(&file) {
                return Err(StoreError::Damaged {
                    place: store.url_of(&name),
                    by: "the format of caches".to_owned(),
                    problem: "it names a file that is none of a tokenizer's".to_owned(),
                });
            }
            self.tokenizer.push((format!("{prefix}tokenizer/{file}"), blake3));
        }
        self.add_small(Kind::Identity, name, identity);
        let hashes = listed.map(|(_, corpus)| corpus).unwrap_or_default();
        for part in 0.. {
            let ending = names::part_ending(part);
            let name = format!("{prefix}corpus/prepared{ending}.json");
            let is_there = self.objects.as_ref().is_some_and(|objects| objects.contains_key(&name));
            if part >= hashes.len() && !is_there {
                break;
            }
            let bytes = required(store, &name, ", and the inventory lists it")?;
            if let Some(blake3) = hashes.get(part) {
                require_hash(store, &name, &bytes, blake3)?;
            }
            let Description { table, tokens } = parsed(&bytes, &store.url_of(&name))?;
            let files = match tokens {
                Some(tokens) => vec![
                    (format!("samples{ending}.arrow"), table),
                    (format!("tokens{ending}.u32"), tokens),
                ],
                None => vec![(format!("samples{ending}.parquet"), table)],
            };
            self.data.extend(files.into_iter().map(|(file, region)| Stated {
                name: names::beside(&name, &file),
                region,
                by: name.clone(),
            }));
            self.add_small(Kind::Description, name, bytes);
        }
        Ok(())
    }

    /// Adds what says where the cache comes from, if it was cut from another one or merged.
    fn add_origin(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let origin = match &self.objects {
            Some(objects) if objects.contains_key(ORIGIN) => store.read(ORIGIN)?,
            Some(_) => None,
            None => match store.read(ORIGIN) {
                // Some servers refuse what they do not have.
                Err(StoreError::Refused { .. }) => None,
                read => read?,
            },
        };
        if let Some(bytes) = origin {
            parsed::<serde::de::IgnoredAny>(&bytes, &store.url_of(ORIGIN))?;
            self.add_small(Kind::Origin, ORIGIN.to_owned(), bytes);
        }
        Ok(())
    }

    fn add_small(&mut self, kind: Kind, name: String, bytes: Vec<u8>) {
        self.small.push(Small { kind, name, bytes });
    }

    /// Adds the layers: those that are listed by the inventory, and those that the store has.
    fn add_layers(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let mut receipts: BTreeMap<String, Option<Region>> = BTreeMap::new();
        let mut layers: BTreeSet<String> = BTreeSet::new();
        for (layer, units) in self.inventory.iter().flat_map(|inventory| &inventory.layers) {
            for (unit, shard) in units
                .iter()
                .filter(|(unit, _)| names::is_layer(layer) && names::is_unit(unit))
            {
                let region = Region {
                    bytes: shard.bytes,
                    blake3: shard.blake3.clone(),
                };
                receipts.insert(format!("layers/{layer}/{unit}.json"), Some(region));
                layers.insert(format!("layers/{layer}"));
            }
        }
        for name in self.objects.iter().flat_map(BTreeMap::keys) {
            match Kind::of(name) {
                Some(Kind::Receipt) => {
                    receipts.entry(name.clone()).or_default();
                }
                Some(Kind::Manifest) => self.manifests.push(name.clone()),
                Some(Kind::Layer) => {
                    layers.insert(name.trim_end_matches("/layer.json").to_owned());
                }
                _ => {}
            }
        }
        for layer in layers {
            let name = format!("{layer}/layer.json");
            let bytes = required(store, &name, ", and its layer has work units")?;
            self.add_small(Kind::Layer, name, bytes);
            if self.objects.is_none() {
                self.manifests.push(format!("{layer}/manifest.json"));
            }
        }
        self.units = receipts
            .into_iter()
            .map(|(receipt, listed)| Unit {
                shard: shard_of(&receipt),
                receipt,
                listed,
            })
            .collect();
        debug_assert!(self.units.iter().all(|unit| receipt_of(&unit.shard) == unit.receipt));
        Ok(())
    }

    /// What the store says of a file; `None` if it has none of that name, or cannot list its files.
    pub(crate) fn object(&self, name: &str) -> Option<&Object> {
        self.objects.as_ref()?.get(name)
    }

    /// How many files there are.
    pub(crate) fn files(&self) -> u64 {
        (self.tokenizer.len() + self.small.len() + self.data.len() + 2 * self.units.len() + self.manifests.len()) as u64
    }

    /// The bytes of the files that are told of: data and shards.
    pub(crate) fn bytes(&self, units: Units) -> u64 {
        let data: u64 = self.data.iter().map(|data| data.region.bytes).sum();
        let of_unit = |unit: &Unit| match (&unit.listed, &self.objects) {
            (Some(listed), _) => listed.bytes,
            (None, Some(objects)) => objects.get(&unit.shard).map_or(0, |object| object.bytes),
            (None, None) => 0,
        };
        match units {
            Units::Whole => data + self.units.iter().map(of_unit).sum::<u64>(),
            Units::WithoutShards | Units::Nothing => data,
        }
    }
}

/// A file that must be there.
pub(crate) fn required(store: &dyn Store, name: &str, why: &'static str) -> Result<Vec<u8>, StoreError> {
    store.read(name)?.ok_or_else(|| StoreError::Missing {
        place: store.url_of(name),
        why,
    })
}

fn require_hash(store: &dyn Store, name: &str, bytes: &[u8], blake3: &str) -> Result<(), StoreError> {
    if hash(bytes) == blake3 {
        return Ok(());
    }
    Err(StoreError::Damaged {
        place: store.url_of(name),
        by: store.url_of(INVENTORY),
        problem: "its contents have another hash".to_owned(),
    })
}
