//! The networks, stage by stage, against plain PyTorch (`tests/reference`). Weights and inputs are
//! hashes of their key and index; the networks read them from files with the published keys.

mod reference;

use ar_metrics::networks::{
    AlexNet, C3d, FeatureExtractor, I3d, InceptionV3, Lpips, ResNet3d, Vgg16,
};
use ar_metrics::{FeatureStatistics, frechet_distance};
use burn::tensor::{Device, Tensor};

use reference::{Case, noise};

#[test]
fn vgg16() {
    let case = Case::new("vgg16");
    let network = Vgg16::load(case.weights(), &Device::flex()).expect("fitting weights");
    for (stage, activations) in network.forward(case.input("input")).into_iter().enumerate() {
        case.check_stage(&format!("stage{stage}"), &activations);
    }
}

#[test]
fn alexnet() {
    let case = Case::new("alexnet");
    let network = AlexNet::load(case.weights(), &Device::flex()).expect("fitting weights");
    for (stage, activations) in network.forward(case.input("input")).into_iter().enumerate() {
        case.check_stage(&format!("stage{stage}"), &activations);
    }
    // The smallest images that leave something to look at.
    let smallest = network.forward(Tensor::ones([1, 3, 31, 31], &Device::flex()));
    assert_eq!(smallest[4].dims(), [1, 256, 1, 1]);
}

#[test]
fn lpips_and_its_gradient() {
    let device = Device::flex().autodiff();
    let (vgg, case) = (Case::new("vgg16"), Case::new("lpips"));
    let network = Lpips::vgg16(vgg.weights(), case.weights(), &device).expect("fitting weights");
    check_lpips(&network, &case, &device);

    let (alexnet, of_vgg) = (Case::new("alexnet"), case);
    let error = Lpips::alexnet(alexnet.weights(), of_vgg.weights(), &device);
    let error = error.expect_err("layers for VGG16").to_string();
    assert!(error.contains("lin1.model.1.weight"), "{error}");
    let case = Case::new("lpips_alexnet");
    let network = Lpips::alexnet(alexnet.weights(), case.weights(), &device);
    check_lpips(&network.expect("fitting weights"), &case, &device);
}

fn check_lpips(network: &Lpips, case: &Case, device: &Device) {
    let images = |key| Tensor::<4>::from_data(case.input::<4>(key).into_data(), device);
    let (a, b) = (images("a").require_grad(), images("b"));

    for (stage, distances) in network.stages(a.clone(), b.clone()).iter().enumerate() {
        case.check_stage(&format!("stage{stage}"), distances);
    }
    let distance = network.forward(a.clone(), b.clone());
    case.check("features", &distance);
    let gradients = distance.sum().backward();
    case.check("gradient", &a.grad(&gradients).expect("a gradient"));

    // No feature is active in an image far below zero, but gradients are still finite.
    let dark = (b * 0.0 - 1e6).require_grad();
    let gradients = network.forward(dark.clone(), a).sum().backward();
    let gradient = dark.grad(&gradients).expect("a gradient");
    assert!(gradient.sum().into_scalar::<f32>().is_finite());
}

#[test]
fn inception_v3() {
    let case = Case::new("inception_v3");
    let network = InceptionV3::load(case.weights(), &Device::flex()).expect("fitting weights");
    let mut seen = case.stages_to_see();
    let features = network.forward(case.input("input"), &mut |name, x| seen.check(name, x));
    seen.finish();
    case.check("features", &features);
    assert_eq!(features.dims()[1], network.width());
}

#[test]
fn i3d() {
    let case = Case::new("i3d");
    let network = I3d::load(case.weights(), &Device::flex()).expect("fitting weights");
    let mut seen = case.stages_to_see();
    let features = network.forward(case.input("input"), &mut |name, x| seen.check(name, x));
    seen.finish();
    case.check("features", &features);
    assert_eq!(features.dims()[1], network.width());
}

#[test]
fn resnet3d() {
    let case = Case::new("resnet3d");
    let network = ResNet3d::load(case.weights(), &Device::flex()).expect("fitting weights");
    let mut seen = case.stages_to_see();
    let features = network.forward(case.input("input"), &mut |name, x| seen.check(name, x));
    seen.finish();
    case.check("features", &features);
    assert_eq!(features.dims()[1], network.width());
}

#[test]
fn c3d() {
    let case = Case::new("c3d");
    let network = C3d::load(case.weights(), &Device::flex()).expect("fitting weights");
    let mut seen = case.stages_to_see();
    let features = network.forward(case.input("input"), &mut |name, x| seen.check(name, x));
    seen.finish();
    case.check("features", &features);
    assert_eq!(features.dims()[1], network.width());
}

#[test]
fn preprocessing() {
    let case = Case::new("preprocessed");
    let clips = (case.input::<5>("clips") + 1.0) / 2.0;
    case.check("i3d", &I3d::preprocess(clips.clone()));
    case.check("inception_v3", &InceptionV3::preprocess(clips.clone()));
    case.check("resnet3d", &ResNet3d::preprocess(clips.clone()));
    case.check("c3d", &C3d::preprocess(clips));
}

#[test]
fn frechet_distances() {
    let expected = reference::expected();
    for case in expected["frechet"].as_array().expect("cases") {
        let number = |value: &serde_json::Value| value.as_u64().expect("a number") as usize;
        let width = number(&case["width"]);
        let gathered = |key: &str, samples: &serde_json::Value, scale: f32, offset: f32| {
            let shape = [number(samples), width];
            let features =
                Tensor::<1>::from_floats(&*noise(key, shape.iter().product()), &Device::flex());
            let mut statistics = FeatureStatistics::new(width);
            let features = features.reshape(shape) * scale + offset;
            statistics.add(features).expect("finite features");
            statistics
        };
        let a = gathered("frechet a", &case["samples"][0], 1.0, 0.0);
        let b = gathered("frechet b", &case["samples"][1], 0.5, 0.25);
        let distance = frechet_distance(&a, &b).expect("a distance");
        let expected = case["distance"].as_f64().expect("a number");
        // Features are of single precision.
        assert!(
            (distance / expected - 1.0).abs() < 1e-6,
            "{distance} {expected}"
        );
    }
}

#[test]
fn misfits_are_named() {
    let case = Case::new("i3d");
    let error = |path| {
        I3d::load(path, &Device::flex())
            .expect_err("a misfit")
            .to_string()
    };

    let renamed =
        case.weights_with(|key| key.replace("Mixed_4b.b1a.bn.bias", "Mixed_4b.b1a.bn.offset"));
    let message = error(&renamed);
    assert!(
        message.contains("missing: Mixed_4b.b1a.bn.bias;"),
        "{message}"
    );
    assert!(
        message.contains("not part of the network: Mixed_4b.b1a.bn.offset"),
        "{message}"
    );

    let other = Case::new("lpips");
    let message = error(&other.weights());
    assert!(
        message.contains("not part of the network: lin0.model.1.weight"),
        "{message}"
    );
}
