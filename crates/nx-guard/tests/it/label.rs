//! The algebra of labels on values.

use nx_guard::label::Labelled;
use nx_types::{Label, SharedLabel};
use proptest::prelude::*;

const POINTERS: [&str; 9] = ["", "/a", "/a/b", "/a/b/0", "/a/bc", "/d", "/d/0", "/d/1", "/d/1/a~1b"];

fn some_labels() -> Vec<SharedLabel> {
    let sources = ["untrusted/mail/1", "untrusted/mail/2", "shop/find", "request"];
    let named = sources.map(|source| SharedLabel::new(Label::from_source(source)));
    [SharedLabel::default()].into_iter().chain(named).collect()
}

fn build(labels: &[SharedLabel], sets: &[(usize, usize)]) -> Labelled {
    let mut labelled = Labelled::uniform(labels[0].clone());
    for (place, label) in sets {
        labelled.set(POINTERS[*place], labels[*label].clone()).unwrap();
    }
    labelled
}

fn sets() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..POINTERS.len(), 0..5_usize), 0..12)
}

proptest! {
    #[test]
    fn join_is_a_semilattice(a in sets(), b in sets(), c in sets()) {
        let ids = some_labels();
        let [a, b, c] = [a, b, c].map(|sets| build(&ids, &sets));
        let ab = a.join(&b);
        prop_assert_eq!(&ab, &b.join(&a));
        prop_assert_eq!(&a.join(&a), &a);
        let bc = b.join(&c);
        prop_assert_eq!(ab.join(&c), a.join(&bc));
        for pointer in POINTERS {
            let wanted = a.label_at(pointer).unwrap().join(b.label_at(pointer).unwrap());
            prop_assert_eq!(ab.label_at(pointer).unwrap(), &wanted);
        }
    }

    #[test]
    fn parts_keep_their_labels(a in sets(), b in sets(), place in 0..POINTERS.len()) {
        let ids = some_labels();
        let (whole, part) = (build(&ids, &a), build(&ids, &b));
        let place = POINTERS[place];
        let projected = whole.project(place).unwrap();
        let mut embedded = whole.clone();
        embedded.embed(place, &part).unwrap();
        for under in POINTERS {
            let full = format!("{place}{under}");
            prop_assert_eq!(projected.label_at(under).unwrap(), whole.label_at(&full).unwrap());
            prop_assert_eq!(embedded.label_at(&full).unwrap(), part.label_at(under).unwrap());
            if !under.starts_with(place) {
                prop_assert_eq!(embedded.label_at(under).unwrap(), whole.label_at(under).unwrap());
            }
        }
        prop_assert_eq!(&embedded.project(place).unwrap(), &part);
        let mut back = whole.clone();
        back.embed(place, &projected).unwrap();
        prop_assert_eq!(back, whole);
    }

    #[test]
    fn normal_form_is_kept_and_written(a in sets()) {
        let ids = some_labels();
        let labelled = build(&ids, &a);
        let text = serde_json::to_string(&labelled).unwrap();
        let back: Labelled = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &labelled);
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
        // Dropping any override changes the label of some place.
        let mut seen = POINTERS.iter().filter(|p| labelled.label_at(p).unwrap() != labelled.label_at("").unwrap()).count();
        seen = seen.min(labelled.overrides());
        prop_assert!(labelled.overrides() == 0 || seen > 0);
    }
}
