//! The table of options and the types say the same: every field is an option of its type and default, and every option a
//! field.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use super::load_all;
use crate::config::Config;
use crate::config::options::{IMPORTS, Kind, Preset, Spec, all};

/// Asks a type for its fields, by answering all that it asks for.
struct Ask<'a> {
    path: String,
    found: &'a mut BTreeMap<String, &'static str>,
}

type Fault = de::value::Error;

impl Ask<'_> {
    fn leaf(self, kind: &'static str) {
        let _new = self.found.insert(self.path, kind);
    }
}

/// Leaves: what is asked for, and an answer.
macro_rules! answers {
    ($($method:ident $kind:literal $visit:ident $value:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.leaf($kind);
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = Fault;

    answers! {
        deserialize_any "any" visit_bool false;
        deserialize_bool "bool" visit_bool false;
        deserialize_i32 "i32" visit_i32 0;
        deserialize_u16 "u16" visit_u16 1;
        deserialize_u32 "u32" visit_u32 1;
        deserialize_u64 "u64" visit_u64 1;
        deserialize_string "text" visit_str "";
        deserialize_str "text" visit_str "";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(Once(Some(self)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(Fields {
            keys: vec!["<>"].into_iter(),
            key: "",
            ask: self,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        // Its fields are those of a variant: serde doesn't tell them.
        assert_ne!(name, "Check");
        visitor.visit_map(Fields {
            keys: Vec::from(fields).into_iter(),
            key: "",
            ask: self,
        })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i64 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple tuple_struct enum
        identifier ignored_any
    }
}

struct Once<'a>(Option<Ask<'a>>);

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(mut ask) = self.0.take() else {
            return Ok(None);
        };
        ask.path.push_str("[]");
        seed.deserialize(ask).map(Some)
    }
}

struct Fields<'a> {
    keys: std::vec::IntoIter<&'static str>,
    key: &'static str,
    ask: Ask<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(key) = self.keys.next() else {
            return Ok(None);
        };
        self.key = key;
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let above = &self.ask.path;
        let path = if above.is_empty() {
            self.key.to_owned()
        } else {
            format!("{above}.{}", self.key)
        };
        // Checks have one of several keys, flattened: see `checks_have_these_fields`.
        if path == "health.checks" {
            let nothing = de::value::MapDeserializer::<_, Fault>::new(std::iter::empty::<(&str, &str)>());
            return seed.deserialize(nothing);
        }
        seed.deserialize(Ask {
            path,
            found: self.ask.found,
        })
    }
}

/// What a field of the option's kind is called by [`Ask`].
fn kinds(spec: &Spec) -> (&'static [&'static str], &'static str) {
    match spec.kind {
        Kind::Bool => (&["bool"], ""),
        Kind::Int(..) => (&["i32", "u32", "u64"], ""),
        Kind::Text(_) | Kind::Choice(_) | Kind::Scalar(_) => (&["text"], ""),
        Kind::List(_) | Kind::Words(_) | Kind::Scalars(_) => (&["text"], "[]"),
        Kind::Ints(..) => (&["u16"], "[]"),
        Kind::Free => (&["any"], ".<>"),
    }
}

/// A path with every word that a user chooses written the same.
fn plain(path: &str) -> String {
    let words = path
        .split('.')
        .map(|word| if word.starts_with('<') { "<>" } else { word });
    words.collect::<Vec<_>>().join(".")
}

/// The options that a machine has.
fn of_a_machine() -> impl Iterator<Item = &'static Spec> {
    all().filter(|spec| spec.path != IMPORTS)
}

#[test]
fn every_field_is_an_option_and_every_option_a_field() {
    let mut fields = BTreeMap::new();
    let ask = Ask {
        path: String::new(),
        found: &mut fields,
    };
    let _config = Config::deserialize(ask).unwrap();
    for spec in of_a_machine() {
        if spec.path.starts_with("health.checks.") {
            continue;
        }
        let (kinds, list) = kinds(spec);
        let field = fields.remove(&format!("{}{list}", plain(spec.path)));
        assert!(
            field.is_some_and(|field| kinds.contains(&field)),
            "{}: {field:?}",
            spec.path
        );
    }
    assert_eq!(fields, BTreeMap::new(), "fields that are no options");
}

/// A configuration in which every option has its example, but where they exclude each other.
fn example(spec: &Spec) -> String {
    let names = [
        ("<mapping>", "root"),
        ("<path>", "\"/srv\""),
        ("<user>", "kirans"),
        ("<group>", "web"),
        ("<keyword>", "X11Forwarding"),
        ("<address>", "\"192.0.2.1\""),
        ("<alias>", "ll"),
        ("<unit>", "\"backup.service\""),
        ("<section>", "Service"),
        ("<key>", "ExecStart"),
        ("<dropin>", "10-limits"),
        ("<file>", "motd"),
        ("<sysctl>", "\"net.ipv4.ip_forward\""),
        ("<variable>", "EDITOR"),
        ("<name>", "web"),
    ];
    let mut path = spec.path.to_owned();
    for (word, name) in names {
        path = path.replace(word, name);
    }
    match path.split_once("[].") {
        Some((list, key)) => format!("[[{list}]]\n{key} = {}\n", spec.example),
        None => format!("{path} = {}\n", spec.example),
    }
}

/// The least that an example stands in.
fn around(spec: &Spec) -> &'static str {
    match spec.path {
        "boot.luks.<mapping>.header" => {
            "boot.luks.root.device = \"/dev/sda2\"\nboot.luks.root.uuid = \"2b6c2f3e-0000-4000-8000-000000000001\"\n"
        }
        path if path.starts_with("boot.luks.") && !path.ends_with("device") => {
            "boot.luks.root.device = \"/dev/sda2\"\n"
        }
        "filesystems.<path>.device" => "filesystems.\"/srv\".type = \"ext4\"\n",
        "filesystems.<path>.type" => "filesystems.\"/srv\".device = \"/dev/sdb1\"\n",
        path if path.starts_with("filesystems.") => {
            "filesystems.\"/srv\".type = \"ext4\"\nfilesystems.\"/srv\".device = \"/dev/sdb1\"\n"
        }
        "users.<user>.system" => "",
        path if path.starts_with("users.") && !path.ends_with("normal") => "users.kirans.normal = true\n",
        "etc.<file>.mode" | "etc.<file>.user" | "etc.<file>.group" => "etc.motd.text = \"\"\n",
        "health.checks.<name>.deadline" => "health.checks.web.unit = \"a.service\"\n",
        _ => "",
    }
}

#[test]
fn every_example_loads_and_changes_something() {
    let root = "state_version = \"1\"\nfilesystems.\"/\" = { device = \"/dev/sda1\", type = \"ext4\" }\n";
    for spec in all() {
        if spec.path == "state_version" {
            continue;
        }
        let mut text = format!("{root}{}{}", around(spec), example(spec));
        if spec.path.starts_with("swap[].") && !spec.path.ends_with("device") {
            text.push_str("device = \"/dev/vg/swap\"\n");
        }
        if spec.path.starts_with("overlay[].") {
            text.push_str(if spec.path.ends_with("package") {
                "deb = \"a.deb\"\n"
            } else {
                "package = \"hello\"\n"
            });
        }
        let files = [
            ("system.toml", text.as_str()),
            ("hardware.toml", "system.keymap = \"de\"\n"),
            ("files/nginx.conf", ""),
            ("a.deb", ""),
            ("hello_2.10-5+local1_amd64.deb", ""),
            ("hello.toml", ""),
        ];
        let loaded = load_all(&files, &[]).unwrap_or_else(|problems| panic!("{}: {problems}", spec.path));
        let without = load_all(&[("system.toml", &format!("{root}{}", around(spec)))], &[]);
        if spec.default != Preset::Is(spec.example) {
            assert_ne!(
                Ok(&loaded.config),
                without.as_ref().map(|loaded| &loaded.config),
                "{}",
                spec.path
            );
        }
        // And the resolved text is the same configuration.
        let resolved = loaded.to_toml().unwrap();
        let mut again = files;
        again[0].1 = &resolved;
        assert_eq!(
            load_all(&again, &[]).unwrap().config,
            loaded.config,
            "{}",
            spec.path
        );
    }
}

#[test]
fn defaults_are_those_of_the_types() {
    // A table of each kind with as little in it as possible, to see its defaults.
    let text = "state_version = \"1\"\nboot.luks.root.device = \"/dev/sda2\"\n\
                filesystems.\"/\" = { device = \"/dev/a\", type = \"ext4\" }\nusers.a = {}\ngroups.a = {}\n\
                units.\"a.service\" = {}\netc.a.text = \"\"\nhealth.checks.a.unit = \"a.service\"\n\
                swap = [{ device = \"/dev/b\" }]\noverlay = [{ package = \"aa\", path = \
                \"/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-x\" }]\n";
    let config = load_all(&[("system.toml", text)], &[]).unwrap().config;
    let table = toml::Value::try_from(&config).unwrap();
    for spec in of_a_machine() {
        if spec.default == Preset::Required {
            continue;
        }
        let mut value = Some(&table);
        let words: Vec<&str> = spec.path.split('.').collect();
        for word in &words {
            value = value.and_then(|value| match word.strip_suffix("[]") {
                Some(list) => value.get(list)?.get(0),
                None if word.starts_with('<') => value.as_table()?.values().next(),
                None => value.get(word),
            });
        }
        let given = ["etc.<file>.text", "health.checks.<name>.unit", "overlay[].path"];
        if given.contains(&spec.path) {
            continue;
        }
        let expected = match spec.default {
            Preset::Is(text) => toml::from_str::<toml::Table>(&format!("x = {text}"))
                .unwrap()
                .remove("x"),
            Preset::Unset | Preset::Required => None,
        };
        assert_eq!(value, expected.as_ref(), "{}", spec.path);
    }
}

#[test]
fn checks_have_these_fields() {
    use crate::system::health::Check;
    let of_checks: Vec<&Spec> = all()
        .filter(|spec| spec.path.starts_with("health.checks."))
        .collect();
    let mut seen = Vec::new();
    for spec in &of_checks {
        let name = spec.path.rsplit('.').next().unwrap();
        let text = if name == "deadline" {
            format!("deadline = {}\nunit = \"a.service\"", spec.example)
        } else {
            format!("{name} = {}", spec.example)
        };
        let check: Check = toml::from_str(&text).unwrap();
        seen.push(name);
        // No variant of `CheckKind` is forgotten.
        match check.kind {
            crate::system::health::CheckKind::Command(_)
            | crate::system::health::CheckKind::Unit(_)
            | crate::system::health::CheckKind::Tcp(_)
            | crate::system::health::CheckKind::Http(_) => {}
        }
    }
    assert_eq!(seen, ["command", "unit", "tcp", "http", "deadline"]);
}

#[test]
fn each_option_is_told_once_and_whole() {
    let mut paths: Vec<&str> = all().map(|spec| spec.path).collect();
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count);
    for spec in all() {
        assert!(
            spec.description.ends_with('.') && !spec.description.contains('\n'),
            "{}",
            spec.path
        );
    }
}
