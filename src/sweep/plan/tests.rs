//! What profiles come to.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    spec::SizeList,
    sweep::profile::{embedded, load, parse},
};

const FACTS: RunFacts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 2, seed: 7 };

fn plan(sweep: &str) -> Result<Plan, PlanError> {
    let profile = parse("test", &format!("description = 'x'\n{sweep}")).unwrap_or_else(|e| panic!("{e}"));
    Plan::new(&profile, &Overrides::default(), &FACTS)
}

fn refusal(sweep: &str) -> String {
    plan(sweep).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
}

#[test]
fn every_embedded_profile_makes_a_plan() {
    for (name, _) in embedded() {
        let profile = load(name).unwrap_or_else(|e| panic!("{e}"));
        let plan = Plan::new(&profile, &Overrides::default(), &FACTS).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(plan.cells().count() > 10, "{name}");
    }
}

#[test]
fn equal_cells_are_one_and_groups_differ_only_in_what_is_compared() {
    let plan = plan("[defaults]\nvariants=['softmax','elu','t2r']\nfeature_dim=[16,32]\nbatch=[1,2]\nseq_len=64")
        .expect("plan");
    // softmax and elu ignore the feature size: 1 + 1 + 2 cells at each of two batches.
    assert_eq!(plan.groups.len(), 2);
    for group in &plan.groups {
        assert_eq!((group.cells.len(), group.units.len()), (4, 4));
        assert!((0..4).all(|i| group.twin_of(i) == Some(0)));
    }
}

#[test]
fn one_generation_is_one_unit_from_short_to_long() {
    let plan = plan("[defaults]\nworkload='generate'\nvariants=['softmax','elu']\nseq_len=[64,16,32]").expect("plan");
    assert_eq!(plan.groups.len(), 1);
    let group = &plan.groups[0];
    assert_eq!(group.units.len(), 2);
    for unit in &group.units {
        let lengths: Vec<usize> = unit.iter().map(|i| group.cells[*i].seq_len).collect();
        assert_eq!(lengths, [16, 32, 64]);
    }
    for (i, cell) in group.cells.iter().enumerate() {
        let twin = &group.cells[group.twin_of(i).expect("softmax is in the grid")];
        assert_eq!((twin.variant.name.as_str(), twin.seq_len), ("softmax", cell.seq_len));
    }
}

#[test]
fn columns_that_do_not_apply_are_blank() {
    let plan =
        plan("[defaults]\nworkload=['attention','forward','decode','generate']\nvariants='softmax'").expect("plan");
    let of = |w: Workload| plan.cells().find(|c| c.workload == w).expect("there");
    assert!(of(Workload::Attention).model.is_none() && of(Workload::Attention).cache.is_some());
    assert!(of(Workload::Forward).n_gen.is_none() && of(Workload::Forward).n_prompt.is_none());
    let decode = of(Workload::Decode);
    assert_eq!((decode.n_gen, decode.n_prompt, decode.cache, decode.head_dim), (Some(32), None, None, 64));
    let generate = of(Workload::Generate);
    assert_eq!((generate.n_gen, generate.n_prompt, generate.cache), (None, Some(1), None));
    assert_eq!(generate.model.map(|m| (m.n_layers, m.d_model, m.ffn_dim, m.vocab_size)), Some((6, 512, 2048, 32_000)));
}

#[test]
fn a_prompt_merges_and_training_does_not() {
    let plan = plan("[defaults]\nworkload=['prefill','train']\nvariants='t2r'\nseq_len=1").expect("plan");
    let text: Vec<(Workload, String)> = plan.cells().map(|c| (c.workload, c.variant.to_string())).collect();
    assert_eq!(
        text,
        [(Workload::Prefill, "t2r:merged=true".to_owned()), (Workload::Train, "t2r:merged=false".to_owned())]
    );
    assert!(plan.cells().all(|c| c.model.is_some() && (c.cache, c.n_gen, c.n_prompt) == (None, None, None)));
    assert!(refusal("[defaults]\nworkload='train'\nvariants='t2r:merged=true'").contains("nor where φ is trained"));
}

#[test]
fn what_cannot_be_is_refused_with_the_way_out() {
    assert!(refusal("[defaults]\nn_heads=8\nn_kv_heads=3").contains("does not divide n_heads 8"));
    assert!(refusal("[defaults]\nn_heads=7").contains("not a multiple of n_heads 7"));
    assert!(refusal("[defaults]\nworkload='decode'\npositions='rotary'\nhead_dim=63").contains("odd"));
    assert!(refusal("[defaults]\ncausal=false").contains("forward alone"));
    assert!(refusal("[defaults]\nworkload='forward'\nvariants='window:4'\ncausal=false").contains("is causal"));
    assert!(refusal("[defaults]\nvariants='softmx'").contains("'softmax'"));
    assert!(refusal("[defaults]\nvariants=[]").contains("empty"));
    assert!(refusal("[defaults]\nseq_len=18446744073709551615").contains("mistyped"));
    assert!(refusal("[defaults]\nn_layers=0\nworkload='decode'").contains("n_layers is 0"));
    assert!(refusal("[measure]\nrounds=0").contains("rounds is 0"));
}

#[test]
fn flags_cover_sweeps_and_workloads_pick_among_them() {
    let profile = load("quick").expect("embedded");
    let mut overrides = Overrides::default();
    overrides.sweep.workload = Some(vec![Workload::Decode, Workload::Generate]);
    overrides.sweep.batch = Some(SizeList(vec![3]));
    let plan = Plan::new(&profile, &overrides, &FACTS).expect("plan");
    assert!(plan.cells().all(|c| c.batch_size == 3));
    // Decode is the profile's sweep with its 4 layers; generate is no sweep of it and has the defaults.
    let layers = |w| plan.cells().find(|c| c.workload == w).and_then(|c| c.model).map(|m| m.n_layers);
    assert_eq!((layers(Workload::Decode), layers(Workload::Generate)), (Some(4), Some(6)));
    assert!(plan.cells().all(|c| !matches!(c.workload, Workload::Attention | Workload::Forward)));
}

#[test]
fn the_fingerprint_is_of_what_gives_numbers_their_meaning() {
    let of = |text: &str| plan(text).expect("plan").fingerprint();
    let base = of("[defaults]\nbatch=1");
    assert_eq!(base.len(), 8);
    assert_eq!(base, of("[measure]\ntime_budget='1h'\nmemory_budget='1GiB'\n[defaults]\nbatch=[1]"));
    assert_ne!(base, of("[measure]\nci_target='1%'\n[defaults]\nbatch=1"));
    assert_ne!(base, of("[defaults]\nbatch=2"));
    let run = plan("").expect("plan").run_id(SystemTime::UNIX_EPOCH + Duration::from_secs(1_769_860_800), 1);
    assert!(run.starts_with("20260131T120000Z-"), "{run}");
    assert_eq!(fingerprint_of(&run), Some(plan("").expect("plan").fingerprint().as_str()));
    assert_eq!(fingerprint_of("nonsense"), None);
}

#[test]
fn fused_kernels_are_the_default_where_all_of_a_sweep_has_them() {
    let implementation = |text: &str, device_kind: DeviceKind| {
        let facts = RunFacts { device_kind, n_threads: 1, seed: 0 };
        let profile = parse("t", &format!("description='x'\n[defaults]\n{text}")).expect("profile");
        let plan = Plan::new(&profile, &Overrides::default(), &facts).expect("plan");
        let first = plan.cells().next().expect("a cell").implementation;
        assert!(plan.cells().all(|c| c.implementation == first), "{text}: one sweep, one implementation");
        first.to_string()
    };
    let all = "workload=['attention','decode','translate']\nvariants=['softmax','t2r','none']";
    assert_eq!(implementation(all, DeviceKind::Cpu), "fused");
    assert_eq!(implementation(all, DeviceKind::Cuda), "reference");
    assert_eq!(implementation(&format!("{all}\ndtype='bf16'"), DeviceKind::Cpu), "fused");
    assert_eq!(implementation(&format!("{all}\ndtype='f16'"), DeviceKind::Cpu), "reference");
    assert_eq!(implementation(&format!("{all}\ndtype='bf16'"), DeviceKind::Cuda), "reference");
    assert_eq!(implementation("variants=['softmax','window+t2r']", DeviceKind::Cpu), "fused");
    assert_eq!(implementation("workload=['decode','train']", DeviceKind::Cpu), "fused");
    assert_eq!(implementation(&format!("{all}\nimplementation='reference'"), DeviceKind::Cpu), "reference");
}

#[test]
fn a_translation_has_sizes_of_its_own_across_and_what_looks_back_has_none() {
    let text = "description='x'\n[defaults]\nworkload='translate'\nvariants=['softmax','elu','t2r','t2r:6','window']\n\
                n_heads=2\nd_model=16\nfeature_dim=4\ncross_feature_dim=32";
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
    let plan = |text: &str| Plan::new(&parse("t", text).expect("profile"), &Overrides::default(), &facts);
    let made = plan(text).expect("plan");
    let sizes: Vec<_> = made.cells().map(|c| (c.cross_feature_dim, c.feature_dim)).collect();
    let expected = [(None, None), (Some(8), Some(8)), (Some(32), Some(4)), (Some(32), Some(6)), (None, None)];
    assert_eq!(sizes, expected);
    assert_eq!(made.groups.len(), 1, "variants of any size are in one company");
    assert!(made.cells().all(|c| c.n_prompt.is_none() && c.source_len() == c.seq_len && c.cache.is_none()));
    let same = plan(&text.replace("\ncross_feature_dim=32", "")).expect("plan");
    assert!(same.cells().all(|c| c.cross_feature_dim == c.feature_dim || c.variant.name == "window"));
    let decoder = plan(&text.replace("translate", "decode")).expect_err("no encoder");
    assert!(decoder.to_string().contains("cross_feature_dim is for encoder-decoders"), "{decoder}");
}

proptest! {
    #[test]
    fn no_size_makes_planning_panic(sizes in prop::collection::vec(prop_oneof![1usize..100, any::<usize>()], 12)) {
        let mut fields = SweepFields {
            workload: Some(Workload::ALL.to_vec()),
            batch: Some(SizeList(vec![sizes[0]])),
            seq_len: Some(SizeList(vec![sizes[1]])),
            feature_dim: Some(SizeList(vec![sizes[2]])),
            ..SweepFields::default()
        };
        fields.n_heads = Some(sizes[3]);
        fields.n_kv_heads = Some(sizes[4]);
        fields.head_dim = Some(sizes[5]);
        fields.n_layers = Some(sizes[6]);
        fields.d_model = Some(sizes[7]);
        fields.ffn_dim = Some(sizes[8]);
        fields.vocab_size = Some(sizes[9]);
        fields.n_prompt = Some(sizes[10]);
        fields.n_gen = Some(sizes[11]);
        let overrides = Overrides { sweep: fields, ..Overrides::default() };
        let _ = Plan::new(&Profile::default(), &overrides, &FACTS);
    }
}

#[test]
fn what_a_field_says_reads_back() {
    let texts = [
        ("seq_len", "64,256"),
        ("variants", "softmax,t2r:merged=false"),
        ("workload", "attention,decode"),
        ("cell_timeout", "1m30s"),
        ("ci_target", "2%"),
        ("memory_budget", "8GiB"),
        ("device", "cuda:1"),
        ("causal", "true"),
        ("rounds", "3"),
    ];
    let all = texts.iter().fold(Overrides::default(), |all, (name, text)| {
        Overrides::read(name, text).unwrap_or_else(|e| panic!("{e}")).over(&all)
    });
    for (name, _) in texts {
        let text = all.text(name).expect("said");
        assert_eq!(Overrides::read(name, &text).expect("readable").text(name), Some(text));
    }
    assert_eq!(all.text("seq_len").as_deref(), Some("64,256"));
    assert_eq!(all.text("cell_timeout").as_deref(), Some("1m30s"));
    let mut less = all.clone();
    less.clear("rounds");
    assert_eq!((less.text("rounds"), all.text("rounds").as_deref()), (None, Some("3")));
    let error = Overrides::read("seq_len", "64-").expect_err("no size");
    assert!(error.contains("--seq-len") && !error.contains('\n'), "{error}");
}

#[test]
fn part_of_a_plan_keeps_the_softmax_twins() {
    let text = "description='x'\n[defaults]\nvariants=['softmax','elu','t2r']\nseq_len=[64,256]";
    let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
    let plan = Plan::new(&parse("t", text).expect("profile"), &Overrides::default(), &facts).expect("plan");
    let wanted = plan.groups[1].cells[2].id();
    let part = plan.only(&[wanted]);
    let names: Vec<String> = part.cells().map(|c| format!("{} {}", c.variant.name, c.seq_len)).collect();
    assert_eq!(names, ["softmax 256", "t2r 256"]);
    assert_eq!(part.groups[0].units, [[0], [1]]);
    assert_eq!(plan.only(&[]).groups.len(), 0);
}

#[test]
fn a_generation_is_visited_as_a_whole_and_another_cell_alone() {
    let of = |workload: &str| {
        let text = format!(
            "description='x'\n[defaults]\nworkload='{workload}'\nvariants=['softmax','elu']\nseq_len=[64,256]\nbatch=[1,2]"
        );
        let facts = RunFacts { device_kind: DeviceKind::Cpu, n_threads: 1, seed: 0 };
        let plan = Plan::new(&parse("t", &text).expect("profile"), &Overrides::default(), &facts).expect("plan");
        let cells: Vec<_> = plan.cells().map(|c| (c.batch_size, c.variant.name.clone(), c.seq_len)).collect();
        let last = cells.iter().position(|c| *c == (2, "elu".to_owned(), 256)).expect("a cell");
        plan.visited_with(last).into_iter().map(|i| cells[i].clone()).collect::<Vec<_>>()
    };
    let elu = |seq_len| (2, "elu".to_owned(), seq_len);
    assert_eq!(of("generate"), [elu(64), elu(256)]);
    assert_eq!(of("attention"), [elu(256)]);
}
