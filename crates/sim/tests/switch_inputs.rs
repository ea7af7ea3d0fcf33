//! The committed inputs of the fuzz target `switch`, and many random ones, run through the target's body.

use base::Rng;

#[test]
fn no_committed_input_violates_an_invariant() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/switch");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect(folder).map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        eprintln!("{}", file.display()); // shown if the input fails
        sim::fuzz::inputs(&std::fs::read(&file).expect("a file"));
    }
}

#[test]
fn no_random_input_violates_an_invariant() {
    for seed in 0..2000 {
        eprintln!("{seed}");
        let mut rng = Rng::from_number(seed);
        let mut noise = vec![0; rng.below(1200) as usize];
        rng.fill(&mut noise);
        sim::fuzz::inputs(&noise);
    }
}
