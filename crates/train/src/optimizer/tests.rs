//! Steps worked out by hand, and masters of parameters in other dtypes.

use super::*;
use candle_core::Device;

fn variable(values: &[f32]) -> Var {
    Var::from_tensor(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap()
}

fn values(variable: &Var) -> Vec<f32> {
    variable.as_tensor().to_vec1().unwrap()
}

#[test]
fn two_steps_match_numbers_worked_out_by_hand() {
    // θ = 1, g = 0.5 then 1, η = 0.1, λ = 0.1, β = (0.9, 0.999).
    // Step 1: m̂ = 0.5, v̂ = 0.25, so θ = 1·0.99 − 0.1·0.5/0.5 = 0.89.
    // Step 2: m = 0.9·0.05 + 0.1 = 0.145, m̂ = 0.145/0.19 = 0.763158; v = 0.999·0.00025 + 0.001 = 0.00124975,
    // v̂ = 0.00124975/0.001999 = 0.625188, √ = 0.790688; θ = 0.89·0.99 − 0.1·0.763158/0.790688 = 0.784582.
    let (weight, bias) = (variable(&[1.0]), variable(&[1.0]));
    let settings = AdamWSettings {
        weight_decay: 0.1,
        ..AdamWSettings::default()
    };
    let named = [("a.weight", &weight), ("b.bias", &bias)];
    let mut optimizer = AdamW::new(named.into_iter(), settings).unwrap();
    for (gradient, decayed, plain) in [(0.5f32, 0.89f32, 0.9f32), (1.0, 0.784_582, 0.803_482)] {
        let gradient = Tensor::new(&[gradient], &Device::Cpu).unwrap();
        optimizer
            .update([("a.weight", &gradient), ("b.bias", &gradient)].into_iter(), 1.0, 0.1)
            .unwrap();
        assert!((values(&weight)[0] - decayed).abs() < 1e-6, "{}", values(&weight)[0]);
        assert!((values(&bias)[0] - plain).abs() < 1e-6, "{}", values(&bias)[0]);
    }
}

#[test]
fn the_composed_update_agrees_with_the_one_in_place() {
    let start: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin()).collect();
    let (fast, stock) = (variable(&start), variable(&start));
    let settings = AdamWSettings {
        weight_decay: 0.05,
        ..AdamWSettings::default()
    };
    let mut optimizer = AdamW::new([("w.weight", &fast)].into_iter(), settings).unwrap();
    let other = AdamW::new([("w.weight", &stock)].into_iter(), settings).unwrap();
    for step in 1..=5 {
        let gradient: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.11 * step as f32).cos()).collect();
        let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
        optimizer
            .update([("w.weight", &gradient)].into_iter(), 0.5, 1e-2)
            .unwrap();
        let move_by = MoveBy {
            rate: (1e-2 / (1.0 - 0.9f64.powi(step))) as f32,
            root_scale: (1.0 / (1.0 - 0.999f64.powi(step)).sqrt()) as f32,
            epsilon: 1e-8,
            keep: (1.0 - 1e-2 * 0.05) as f32,
        };
        other.parameters[0]
            .update_composed(&gradient, 0.5, (0.9, 0.999), &move_by)
            .unwrap();
    }
    let difference = values(&fast)
        .iter()
        .zip(values(&stock))
        .map(|(a, b)| (a - b).abs())
        .fold(0f32, f32::max);
    assert!(difference < 1e-5, "{difference}");
    assert_ne!(values(&fast), start);
}

#[test]
fn an_optimizer_that_goes_on_from_a_saved_state_ends_with_the_same_bits() {
    let start: Vec<f32> = (0..200).map(|i| (i as f32 * 0.37).sin()).collect();
    let (whole, first) = (variable(&start), variable(&start));
    let new = |variable: &Var| AdamW::new([("w.weight", variable)].into_iter(), AdamWSettings::default()).unwrap();
    let step = |optimizer: &mut AdamW, number: u32| {
        let gradient: Vec<f32> = (0..200).map(|i| (i as f32 * 0.11 * number as f32).cos()).collect();
        let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
        optimizer
            .update([("w.weight", &gradient)].into_iter(), 0.7, 1e-2)
            .unwrap();
    };
    let (mut uninterrupted, mut interrupted) = (new(&whole), new(&first));
    (1..=6).for_each(|number| step(&mut uninterrupted, number));
    (1..=3).for_each(|number| step(&mut interrupted, number));
    // Through a file, as a checkpoint goes.
    let (steps, state) = interrupted.state().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    candle_core::safetensors::save(&state.into_iter().collect(), &path).unwrap();
    let mut state = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let second = variable(&start);
    let mut resumed = new(&second);
    resumed.restore(steps, &mut |name| Ok(state.remove(name))).unwrap();
    assert!(state.is_empty());
    (4..=6).for_each(|number| step(&mut resumed, number));
    assert_eq!(values(&second), values(&whole));
    let error = resumed.restore(steps, &mut |_| Ok(None)).unwrap_err().to_string();
    assert!(error.contains("`w.weight` of shape [200]"), "{error}");
}

/// A variable of ones in `dtype`, and its optimizer.
fn ones(dtype: DType) -> (Var, AdamW) {
    let variable = Var::ones(3, dtype, &Device::Cpu).unwrap();
    let optimizer = AdamW::new([("w.weight", &variable)].into_iter(), AdamWSettings::default()).unwrap();
    (variable, optimizer)
}

fn rounded(variable: &Var) -> Vec<f32> {
    variable.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

#[test]
fn updates_too_small_for_the_dtype_add_up_in_the_master() {
    // The gradient is always the same, so m̂ = g, v̂ = g² and every update is −η = −1e-4 (ε takes a thousandth of it
    // at g = 1e-5). Below 1, bf16 has steps of 2⁻⁸ and f16 of 2⁻¹¹: an update alone rounds away in both. After n the
    // master is 1 − n·1e-4, and the parameter the nearest multiple of the step: 1 − 2⁻⁹ = 0.998047 is the first edge
    // in bf16 (19 updates stay above, 20 do not), 1 − 3·2⁻⁹ = 0.994141 the second; 0.99 = 253.44 · 2⁻⁸.
    // In f16 the edges are 1 − 2⁻¹² = 0.999756 and 1 − 3·2⁻¹² = 0.999268; and g² = 1e-10 is no number of it at all.
    type AfterUpdates<'a> = &'a [(u32, f32)];
    let table: [(DType, f32, AfterUpdates); 2] = [
        (
            DType::BF16,
            1.0,
            &[
                (1, 1.0),
                (19, 1.0),
                (20, 255.0 / 256.0),
                (58, 255.0 / 256.0),
                (59, 254.0 / 256.0),
                (100, 253.0 / 256.0),
            ],
        ),
        (
            DType::F16,
            1e-5,
            &[
                (1, 1.0),
                (2, 1.0),
                (3, 2047.0 / 2048.0),
                (7, 2047.0 / 2048.0),
                (8, 2046.0 / 2048.0),
            ],
        ),
    ];
    for (dtype, gradient, expected) in table {
        let (variable, mut optimizer) = ones(dtype);
        let gradient = Tensor::full(gradient, 3, &Device::Cpu).unwrap();
        let mut done = 0;
        for &(updates, value) in expected {
            while done < updates {
                optimizer
                    .update([("w.weight", &gradient)].into_iter(), 1.0, 1e-4)
                    .unwrap();
                done += 1;
            }
            assert_eq!(rounded(&variable), [value; 3], "{dtype:?} after {updates}");
            let (name, master) = optimizer.weights().unwrap().remove(0);
            assert_eq!((name, master.dtype()), ("w.weight", DType::F32));
            let master = master.to_vec1::<f32>().unwrap()[0];
            // Each update rounds to a step of 6e-8, and ε takes 1e-7 of each of the smaller ones.
            assert!(
                (master - (1.0 - updates as f32 * 1e-4)).abs() < updates as f32 * 1.6e-7,
                "{master}"
            );
        }
    }
}

#[test]
fn a_parameter_with_a_master_learns_what_one_in_single_precision_learns() {
    let (narrow, mut optimizer) = ones(DType::BF16);
    let (wide, mut other) = ones(DType::F32);
    for step in 1..=50u16 {
        let gradient: Vec<f32> = (0..3).map(|i| (i as f32 + f32::from(step) * 0.3).sin()).collect();
        let gradient = Tensor::new(gradient, &Device::Cpu).unwrap();
        for optimizer in [&mut optimizer, &mut other] {
            optimizer
                .update([("w.weight", &gradient)].into_iter(), 0.5, 1e-3)
                .unwrap();
        }
    }
    let master: Vec<f32> = optimizer.weights().unwrap().remove(0).1.to_vec1().unwrap();
    assert_eq!(master, values(&wide));
    let nearest = wide.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    assert_eq!(rounded(&narrow), nearest.to_vec1::<f32>().unwrap());
    assert_ne!(rounded(&narrow), master);
    // One in single precision is its own master, so both have the same state.
    let (_, state) = other.state().unwrap();
    assert_eq!(
        state.keys().collect::<Vec<_>>(),
        ["w.weight", "w.weight.first_moment", "w.weight.second_moment"]
    );
}

#[test]
fn masters_are_restored_to_the_bit_and_parameters_with_them() {
    let gradient = Tensor::new(&[1f32, -0.3, 1e-4], &Device::Cpu).unwrap();
    let update = |optimizer: &mut AdamW| {
        optimizer
            .update([("w.weight", &gradient)].into_iter(), 1.0, 1e-4)
            .unwrap();
    };
    let ((whole, mut uninterrupted), (_, mut interrupted)) = (ones(DType::BF16), ones(DType::BF16));
    (0..45).for_each(|_| update(&mut uninterrupted));
    (0..30).for_each(|_| update(&mut interrupted));
    let (steps, state) = interrupted.state().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    candle_core::safetensors::save(&state.into_iter().collect(), &path).unwrap();
    let mut state = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    // The parameter itself is not in the state: it is what the master rounds to.
    let (resumed_variable, mut resumed) = ones(DType::BF16);
    resumed
        .restore(steps, &mut |name| Ok(state.get(name).cloned()))
        .unwrap();
    assert_ne!(rounded(&resumed_variable), [1.0; 3]);
    (0..15).for_each(|_| update(&mut resumed));
    let bits = |optimizer: &AdamW| -> Vec<u32> {
        let (_, state) = optimizer.state().unwrap();
        let values = state.values().flat_map(|tensor| tensor.to_vec1::<f32>().unwrap());
        values.map(f32::to_bits).collect()
    };
    assert_eq!(bits(&resumed), bits(&uninterrupted));
    assert_eq!(rounded(&resumed_variable), rounded(&whole));
    state.remove("w.weight.second_moment");
    let mut stored = |name: &str| Ok(state.get(name).cloned());
    let error = resumed.restore(steps, &mut stored).unwrap_err().to_string();
    assert!(error.contains("w.weight.second_moment"), "{error}");
}

#[test]
fn a_missing_gradient_is_an_error() {
    let weight = variable(&[1.0]);
    let mut optimizer = AdamW::new([("w", &weight)].into_iter(), AdamWSettings::default()).unwrap();
    assert!(optimizer.update(std::iter::empty(), 1.0, 0.1).is_err());
}

#[test]
fn what_is_not_finite_is_named_whether_weight_moment_or_rounded_parameter() {
    let update = |dtype: DType, start: f32, gradient: f32, learning_rate: f64| {
        let variable = Var::from_tensor(&Tensor::full(start, 3, &Device::Cpu).unwrap().to_dtype(dtype).unwrap());
        let variable = variable.unwrap();
        let named = [("w.weight", &variable)].into_iter();
        let mut optimizer = AdamW::new(named, AdamWSettings::default()).unwrap();
        assert_eq!(optimizer.first_not_finite().unwrap(), None);
        let gradient = Tensor::new(&[1f32, gradient, 1.0], &Device::Cpu).unwrap();
        optimizer
            .update([("w.weight", &gradient)].into_iter(), 1.0, learning_rate)
            .unwrap();
        optimizer.first_not_finite().unwrap()
    };
    assert_eq!(update(DType::F32, 1.0, -1.0, 1e-3), None);
    assert_eq!(update(DType::F32, 1.0, -1.0, 1e37), None, "large is finite");
    assert_eq!(update(DType::F32, 1.0, -1.0, 1e38).as_deref(), Some("w.weight"));
    // 1e30² is beyond single precision, and every later update would be 0.
    assert_eq!(
        update(DType::F32, 1.0, 1e30, 1e-3).as_deref(),
        Some("w.weight.second_moment")
    );
    // The master is 65,520, which half precision rounds up to infinity.
    assert_eq!(
        update(DType::F16, 65_504.0, -1.0, 16.0).as_deref(),
        Some("w.weight in f16")
    );
    assert_eq!(update(DType::F16, 65_504.0, -1.0, 15.0), None);
    // A student that is damaged before its first step.
    let damaged = variable(&[1.0, f32::NAN]);
    let optimizer = AdamW::new([("w.weight", &damaged)].into_iter(), AdamWSettings::default()).unwrap();
    assert_eq!(optimizer.first_not_finite().unwrap().as_deref(), Some("w.weight"));
}
