use super::*;
use crate::model::TreeSum;
use crate::model::tree::{Branch, Node, Tree};

/// A small deterministic generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % end
    }

    fn value(&mut self) -> f32 {
        self.below(1000) as f32 / 10.0
    }
}

const FEATURES: [&str; 4] = ["torque", "speed", "heat", "wear"];

/// Four features from 0 to 100; `adjustable` gives each one's limits, or nothing.
fn manifest(adjustable: [&str; 4], decision: &str) -> Manifest {
    let feature = |(name, adjustable): (&str, &str)| {
        let limits = if adjustable.is_empty() { String::new() } else { format!("adjustable = {adjustable}\n") };
        format!("[[feature]]\nname = \"{name}\"\nunit = \"Nm\"\n{limits}")
    };
    let features: String = FEATURES.into_iter().zip(adjustable).map(feature).collect();
    let output = "[output]\nkind = \"regression\"\ntensor = \"y\"\n";
    let text = format!("schema = 1\nname = \"m\"\nversion = \"1\"\n{features}{output}{decision}");
    Manifest::parse(&text).expect("a sound manifest")
}

/// Rows spread evenly over 0 to 100: what is usual is 10 to 90, so a unit of change is 40.
fn background() -> Vec<f32> {
    (0..=100).flat_map(|value| [value as f32; 4]).collect()
}

fn random_trees(random: &mut Random) -> TreeSum {
    let trees = (0..12).map(|_| {
        let mut nodes = Vec::new();
        for node in 0..7 {
            nodes.push(if node < 3 {
                let branch = [Branch::Leq, Branch::Lt, Branch::Gte, Branch::Gt][random.below(4)];
                let (yes, no) = (2 * node + 1, 2 * node + 2);
                let feature = random.below(4) as u32;
                Node::Split(Split { feature, threshold: random.value(), branch, missing_yes: true, yes, no })
            } else {
                Node::Leaf(random.below(200) as f64 / 100.0 - 1.0)
            });
        }
        Tree { nodes }
    });
    TreeSum { width: 4, base: 0.0, trees: trees.collect() }
}

fn outputs(trees: &TreeSum, rows: &[f32]) -> Vec<f64> {
    let leaf = |tree: &Tree, row: &[f32]| {
        let mut index = 0;
        loop {
            match tree.nodes[index] {
                Node::Leaf(value) => return value,
                Node::Split(split) => {
                    index = if split.goes_yes(row[split.feature as usize]) { split.yes } else { split.no } as usize;
                }
            }
        }
    };
    rows.chunks_exact(4).map(|row| trees.trees.iter().map(|tree| leaf(tree, row)).sum::<f64>()).collect()
}

fn splits(trees: &TreeSum) -> Vec<Split> {
    let split = |node: &Node| match node {
        Node::Split(split) => Some(*split),
        Node::Leaf(_) => None,
    };
    trees.trees.iter().flat_map(|tree| &tree.nodes).filter_map(split).collect()
}

fn moved(row: &[f32], changes: &[Change]) -> Vec<f32> {
    let mut row = row.to_vec();
    for change in changes {
        let index = FEATURES.iter().position(|name| *name == &*change.feature).unwrap();
        assert_eq!(f64::from(row[index]), change.from);
        row[index] = change.to as f32;
    }
    row
}

const PLENTY: u64 = 100_000;

#[test]
fn whatever_is_found_keeps_to_the_limits_and_clears_on_the_model_itself() {
    let mut random = Random(7);
    let limits = ["[20, 80]", "[0, 100, 2.5]", "", "[40, 100]"];
    let (mut found, mut none, mut sets) = (0, 0, 0);
    for round in 0..300 {
        let decision = if round % 2 == 0 {
            "[decision]\nraise_above = 0.5\nclear_below = -1.5\n"
        } else {
            "[decision]\nraise_below = -0.5\nclear_above = 1.5\n"
        };
        let manifest = manifest(limits, decision);
        let clear = manifest.decision.as_ref().unwrap().clear;
        let trees = random_trees(&mut random);
        let row: Vec<f32> = (0..4).map(|_| random.value()).collect();
        let given = (round % 3 > 0).then(|| splits(&trees));
        let search = Search::new(&manifest, &background(), given.as_deref());
        let budget = [150, 3000, PLENTY][round % 3];
        let answer = search.search(&row, budget, |rows| Ok(outputs(&trees, rows))).unwrap();
        assert_eq!(answer, search.search(&row, budget, |rows| Ok(outputs(&trees, rows))).unwrap(), "twice the same");
        // Beyond the budget come only the row itself and what verifies the answer.
        assert!(answer.evaluations <= budget + 4, "{} of {budget}", answer.evaluations);
        match answer.outcome {
            Outcome::Found => found += 1,
            Outcome::NoneWithinLimits => none += 1,
            Outcome::Clear => assert!(clear.holds(outputs(&trees, &row)[0])),
            other => panic!("{other:?}"),
        }
        let mut named = Vec::new();
        let mut before = 0.0;
        for way in &answer.alternatives {
            let there = moved(&row, &way.changes);
            assert!(clear.holds(way.output) && outputs(&trees, &there) == [way.output]);
            assert!((1..=MOST_MOVED).contains(&way.changes.len()));
            assert!(way.distance > 0.0 && way.distance >= before);
            before = way.distance;
            let names: Vec<&str> = way.changes.iter().map(|change| &*change.feature).collect();
            assert!(!named.contains(&names), "each moves another set");
            sets += usize::from(names.len() > 1);
            named.push(names);
            for change in &way.changes {
                let (low, high) = match &*change.feature {
                    "torque" => (20.0, 80.0),
                    "speed" => (0.0, 100.0),
                    "wear" => (40.0, 100.0),
                    other => panic!("{other} cannot be set"),
                };
                assert!(low <= change.to && change.to <= high && change.to != change.from);
                assert!(&*change.feature != "speed" || (change.to / 2.5).fract() == 0.0, "{}", change.to);
            }
        }
    }
    assert!(found > 100 && none > 20 && sets > 20, "{found} found, {none} without, {sets} sets");
}

/// Against brute force: the nearest value to a hundredth, and what lies beyond it.
#[test]
fn single_features_are_moved_no_further_than_needed() {
    let mut random = Random(11);
    let manifest = manifest(["[0, 100]", "", "", ""], "[decision]\nraise_above = 0.0\n");
    let (mut found, mut onward) = (0, 0);
    for _ in 0..200 {
        let trees = random_trees(&mut random);
        let row: Vec<f32> = (0..4).map(|_| random.value()).collect();
        let at = |value: f64| outputs(&trees, &[value as f32, row[1], row[2], row[3]])[0];
        let search = Search::new(&manifest, &background(), Some(&splits(&trees)));
        let answer = search.search(&row, PLENTY, |rows| Ok(outputs(&trees, rows))).unwrap();
        if answer.outcome == Outcome::Clear {
            continue;
        }
        assert!(answer.complete);
        let present = f64::from(row[0]);
        let clearing: Vec<f64> = (0..=10_000).map(|n| f64::from(n) / 100.0).filter(|v| at(*v) < 0.0).collect();
        let nearest = clearing.iter().map(|value| (value - present).abs()).reduce(f64::min);
        let Some(way) = answer.alternatives.first() else {
            assert_eq!(nearest, None, "something clears and was not found");
            continue;
        };
        let change = &way.changes[0];
        // Values are round to 1 here, so a value may lie up to that further than it must.
        assert!(
            (change.to - present).abs() <= nearest.unwrap() + 1.0 && way.distance == (change.to - present).abs() / 40.0
        );
        let beyond = |value: &f64| if change.to > present { *value > change.to } else { *value < change.to };
        let all = (0..=10_000).map(|n| f64::from(n) / 100.0).filter(beyond).all(|value| at(value) < 0.0);
        assert!(all || !change.and_beyond, "not everything beyond {} clears", change.to);
        found += 1;
        onward += usize::from(change.and_beyond);
    }
    assert!(found > 30 && onward > 5, "{found} found, {onward} of them with all that lies beyond");
}

/// A smooth model with known answers: the output is torque + speed - 100, clear below 0.
#[test]
fn smooth_models_are_searched_to_the_notch() {
    let manifest = manifest(["[0, 100]", "[0, 100, 4]", "", ""], "[decision]\nraise_above = 10\nclear_below = 0\n");
    let search = Search::new(&manifest, &background(), None);
    let sum =
        |rows: &[f32]| Ok(rows.chunks_exact(4).map(|row| f64::from(row[0]) + f64::from(row[1]) - 100.0).collect());
    let answer = search.search(&[70.0, 62.0, 1.0, 1.0], PLENTY, sum).unwrap();
    assert_eq!(answer.outcome, Outcome::Found);
    let told: Vec<_> = answer.alternatives.iter().map(|way| (way.changes[0].to, way.changes[0].and_beyond)).collect();
    assert_eq!(told, [(37.0, true), (28.0, true)], "one notch of 1, and one step of 4, beyond the threshold");
    assert!(!answer.complete, "between the points of a grid something may hide");
    // Neither alone reaches far enough: both are moved.
    let manifest =
        self::manifest(["[50, 100]", "[40, 100]", "", ""], "[decision]\nraise_above = 10\nclear_below = 0\n");
    let search = Search::new(&manifest, &background(), None);
    let answer = search.search(&[90.0, 85.0, 1.0, 1.0], PLENTY, sum).unwrap();
    let way = &answer.alternatives[0];
    assert_eq!(way.changes.len(), 2);
    assert!(way.changes.iter().map(|change| change.to).sum::<f64>() < 100.0 && way.distance < 77.0 / 40.0, "{way:?}");
}

#[test]
fn where_there_is_nothing_to_search_the_answer_says_why() {
    let none = |_: &[f32]| Ok(vec![5.0]);
    let rule = "[decision]\nraise_above = 1\n";
    let free = ["[0, 100]", "", "", ""];
    let outcome = |adjustable, decision, row: &[f32]| {
        Search::new(&manifest(adjustable, decision), &background(), None).search(row, 500, none).map(|a| a.outcome)
    };
    let row = [1.0; 4];
    assert_eq!(outcome(free, "", &row), Ok(Outcome::NoRule));
    assert_eq!(outcome([""; 4], rule, &row), Ok(Outcome::NothingAdjustable));
    assert_eq!(outcome(free, rule, &row), Ok(Outcome::NoneWithinLimits));
    assert_eq!(outcome(free, "[decision]\nraise_above = 9\n", &row), Ok(Outcome::Clear));
    assert_eq!(outcome(free, rule, &[1.0]), Err(ModelError::Width { expected: 4, found: 1 }));
    // A value that is missing is nowhere to move from.
    assert_eq!(outcome(free, rule, &[f32::NAN, 1.0, 1.0, 1.0]), Ok(Outcome::NoneWithinLimits));
}

/// The budget is dealt out evenly: a feature that comes late is tried as well, and found to be what helps.
#[test]
fn no_feature_is_starved_by_those_before_it() {
    let manifest = manifest(["[0, 100]"; 4], "[decision]\nraise_above = 1\n");
    let search = Search::new(&manifest, &background(), None);
    // Only the last feature clears, and only far from where it is.
    let wear = |rows: &[f32]| Ok(rows.chunks_exact(4).map(|row| if row[3] > 80.0 { 0.0 } else { 5.0 }).collect());
    let row = [50.0; 4];
    let answer = search.search(&row, 100, wear).unwrap();
    assert_eq!(answer.outcome, Outcome::Found, "{answer:?}");
    assert_eq!(&*answer.alternatives[0].changes[0].feature, "wear");
    assert!(answer.evaluations <= 100 + 4 && !answer.complete);
    // Each stop costs one evaluation, the present row another: with too few for all, those tried are named and no others.
    let names = |budget| {
        search.search(&row, budget, wear).unwrap().searched.iter().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(100), FEATURES);
    assert_eq!(names(3), FEATURES[..2]);
    let nothing = search.search(&row, 1, wear).unwrap();
    assert_eq!((nothing.outcome, nothing.searched.len(), nothing.complete), (Outcome::NoneWithinLimits, 0, false));
}

#[test]
fn a_missing_value_was_not_tried() {
    let manifest = manifest(["[0, 100]", "", "[0, 100]", ""], "[decision]\nraise_above = 1\n");
    let splits = [Split { feature: 0, threshold: 50.0, branch: Branch::Leq, missing_yes: true, yes: 1, no: 2 }];
    let search = Search::new(&manifest, &background(), Some(&splits));
    let high = |rows: &[f32]| Ok(vec![5.0; rows.len() / 4]);
    let found = search.search(&[1.0, 1.0, f32::NAN, 1.0], 500, high).unwrap();
    assert_eq!((found.searched, found.complete), (vec!["torque".into()], false));
    // One that no split asks for has nowhere to go to that makes a difference: that is known without asking.
    let found = search.search(&[1.0; 4], 500, high).unwrap();
    assert_eq!((found.searched, found.complete), (vec!["torque".into(), "heat".into()], true));
}

#[test]
fn a_row_that_the_model_refuses_clears_nothing_and_ends_nothing() {
    let manifest = manifest(["[50, 100]", "[40, 100]", "", ""], "[decision]\nraise_above = 10\nclear_below = 0\n");
    let search = Search::new(&manifest, &background(), None);
    // Refused alone and among others, by either error.
    let refusing = |rows: &[f32]| {
        let output = |row: &[f32]| match row[0] {
            torque if torque < 55.0 => Err(ModelError::Failed("a category that it does not know".to_owned())),
            torque if torque < 60.0 => Err(ModelError::NonFinite),
            torque => Ok(f64::from(torque) + f64::from(row[1]) - 105.0),
        };
        rows.chunks_exact(4).map(output).collect::<Result<Vec<f64>, _>>()
    };
    let answer = search.search(&[90.0, 85.0, 1.0, 1.0], PLENTY, refusing).unwrap();
    let way = &answer.alternatives[0];
    assert!(way.changes.len() == 2 && way.changes[0].to >= 60.0, "{way:?}");
    // What is no question for this model stays an error, and so does a row that gets no answer as it stands.
    let width = |_: &[f32]| Err(ModelError::Width { expected: 3, found: 4 });
    assert!(search.search(&[90.0, 85.0, 1.0, 1.0], PLENTY, width).is_err());
    let refused = search.search(&[50.0, 85.0, 1.0, 1.0], PLENTY, refusing);
    assert!(matches!(refused, Err(ModelError::Failed(_))), "{refused:?}");
}

#[test]
fn words_are_changed_to_words_that_are_allowed() {
    let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[[feature]]\nname = \"Type\"\nadjustable = [1, 2]\n\
                categories = { L = 0, M = 1, H = 2 }\n[output]\nkind = \"regression\"\ntensor = \"y\"\n\
                [decision]\nraise_above = 1\n";
    let search = Search::new(&Manifest::parse(text).unwrap(), &[0.0, 1.0, 2.0], None);
    let answer =
        search.search(&[0.0], 500, |rows| Ok(rows.iter().map(|x| if *x == 2.0 { 0.0 } else { 5.0 }).collect()));
    let ways = answer.unwrap().alternatives;
    let change = &ways[0].changes[0];
    assert_eq!((ways.len(), change.category.as_deref(), change.to, change.and_beyond), (1, Some("H"), 2.0, false));
}

#[test]
fn in_a_window_a_feature_is_moved_in_all_steps() {
    let text = "schema = 1\nname = \"m\"\nversion = \"1\"\n[input]\nkind = \"window\"\nsteps = 3\n\
                [[feature]]\nname = \"heat\"\n[[feature]]\nname = \"torque\"\nadjustable = [0, 100]\n\
                [output]\nkind = \"regression\"\ntensor = \"y\"\n[decision]\nraise_above = 200\nclear_below = 150\n";
    let search = Search::new(&Manifest::parse(text).unwrap(), &background(), None);
    // The output is the torque of all three steps together; the newest is 90.
    let torque =
        |rows: &[f32]| Ok(rows.chunks_exact(6).map(|window| f64::from(window[1] + window[3] + window[5])).collect());
    let found = search.search(&[1.0, 80.0, 1.0, 85.0, 1.0, 90.0], 500, torque).unwrap();
    assert_eq!(found.outcome, Outcome::Found);
    let change = &found.alternatives[0].changes[0];
    assert_eq!((&*change.feature, change.from), ("torque", 90.0));
    assert!(change.to < 50.0 && change.to > 45.0, "three steps of just below 50 are below 150: {}", change.to);
    assert_eq!(found.alternatives[0].output, 3.0 * f64::from(change.to as f32));
    assert!(matches!(search.search(&[1.0, 90.0], 500, torque), Err(ModelError::Width { expected: 6, found: 2 })));
}
