//! Looks for secrets in files, in every form that a program might write them in.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What is looked for, in all its forms.
#[derive(Debug)]
pub(crate) struct Search {
    needles: Vec<Needle>,
    /// By the first two bytes: whether any needle begins so.
    begins: Vec<bool>,
}

#[derive(Debug)]
struct Needle {
    name: String,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hit {
    pub(crate) name: String,
    pub(crate) form: &'static str,
    pub(crate) file: PathBuf,
}

impl Search {
    /// A search for these: a name to tell it by, and its bytes.
    pub(crate) fn new<N: Into<String>, B: AsRef<[u8]>>(wanted: impl IntoIterator<Item = (N, B)>) -> Self {
        let mut needles = Vec::new();
        for (name, bytes) in wanted {
            let (name, bytes) = (name.into(), bytes.as_ref());
            assert!(bytes.len() >= 8, "{name} is too short: it could be found by chance");
            let forms = forms(bytes).into_iter();
            needles.extend(forms.map(|(form, bytes)| Needle { name: name.clone(), form, bytes }));
        }
        let mut begins = vec![false; 1 << 16];
        for needle in &needles {
            begins[pair(&needle.bytes)] = true;
        }
        Self { needles, begins }
    }

    /// Everything that stands in the files below `root`, or in that file.
    pub(crate) fn below(&self, root: &Path) -> Vec<Hit> {
        let mut hits = Vec::new();
        for file in files(root) {
            let content = fs::read(&file).unwrap();
            hits.extend(self.within(&content).into_iter().map(|needle| Hit {
                name: needle.name.clone(),
                form: needle.form,
                file: file.clone(),
            }));
        }
        hits.sort();
        hits.dedup();
        hits
    }

    fn within(&self, content: &[u8]) -> Vec<&Needle> {
        let places = content.windows(2).enumerate().filter(|(_, window)| self.begins[pair(window)]);
        places
            .flat_map(|(at, _)| {
                self.needles.iter().filter(move |needle| content[at..].starts_with(&needle.bytes))
            })
            .collect()
    }
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// As it is, as hexadecimal digits, and as base64 wherever in a longer text it begins.
fn forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("hexadecimal", hex::encode(bytes).into_bytes()),
        ("hexadecimal", hex::encode_upper(bytes).into_bytes()),
    ];
    for before in 0..3 {
        let shifted = [&vec![0; before], bytes].concat();
        // Characters that neighbours have a part in are left out at both ends.
        let first = (before * 4).div_ceil(3);
        let last = shifted.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            forms.push(("base64", text.as_bytes()[first..last].to_vec()));
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

fn files(root: &Path) -> Vec<PathBuf> {
    if root.is_file() {
        return vec![root.to_owned()];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(self::files(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn a_secret_is_found_in_every_form_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "a-secret-of-nobody";
    let search = Search::new([("it", secret)]);
    let hidden = |before: &str| format!("{before}{secret} and more").into_bytes();
    for (form, written) in [
        ("as it is", hidden("x")),
        ("hexadecimal", hex::encode(hidden("")).into_bytes()),
        ("hexadecimal", hex::encode_upper(hidden("xy")).into_bytes()),
        ("base64", STANDARD_NO_PAD.encode(hidden("")).into_bytes()),
        ("base64", STANDARD_NO_PAD.encode(hidden("x")).into_bytes()),
        ("base64", URL_SAFE_NO_PAD.encode(hidden("xy")).into_bytes()),
        ("base64", URL_SAFE_NO_PAD.encode(hidden("xyz")).into_bytes()),
    ] {
        let file = folder.path().join("deep/down/file");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, written).unwrap();
        assert_eq!(search.below(folder.path()), [Hit { name: "it".to_owned(), form, file }]);
    }
    fs::write(folder.path().join("deep/down/file"), "a-secret-of-somebody").unwrap();
    assert_eq!(search.below(folder.path()), []);
}
