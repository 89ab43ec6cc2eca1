use proptest::prelude::*;

use super::*;

fn label() -> impl Strategy<Value = Label> {
    let source = (0..4_usize, 0..40_usize, any::<bool>()).prop_map(|(class, n, trusted)| {
        let prefix = if trusted { "" } else { Label::UNTRUSTED };
        let name = ["mail", "shop", "file", "plain"][class];
        if class == 3 { format!("{prefix}{name}{n}") } else { format!("{prefix}{name}/{n}") }
    });
    let sources = prop_oneof![
        prop::collection::btree_set(source.clone(), 0..6),
        prop::collection::btree_set(source, 0..90).prop_map(widen),
    ];
    let set = || prop::option::of(prop::collection::btree_set("[a-c]", 0..3));
    (sources, set(), set()).prop_map(|(sources, readers, purposes)| Label { sources, readers, purposes })
}

proptest! {
    #[test]
    fn join_is_a_semilattice(a in label(), b in label(), c in label()) {
        prop_assert_eq!(a.join(&b), b.join(&a));
        prop_assert_eq!(a.join(&b).join(&c), a.join(&b.join(&c)));
        prop_assert_eq!(&a.join(&a), &a);
        prop_assert_eq!(&a.join(&Label::default()), &a);
        prop_assert_eq!(a.join(&b).is_trusted(), a.is_trusted() && b.is_trusted());
        let (shared, other) = (SharedLabel::new(a.clone()), SharedLabel::new(b.clone()));
        prop_assert_eq!(&*shared.join(&other), &a.join(&b));
        prop_assert_eq!(shared.join(&other).id(), a.join(&b).id());
    }
}

#[test]
fn many_sources_widen_to_their_classes() {
    let many = (0..65).map(|n| Label::untrusted(&format!("mail/{n}")).join(&Label::from_source(format!("shop/{n}"))));
    let joined = many.fold(Label::default(), |sum, label| sum.join(&label));
    assert_eq!(joined.sources, BTreeSet::from(["shop/*".to_owned(), "untrusted/mail/*".to_owned()]));
    assert!(!joined.is_trusted());
}
