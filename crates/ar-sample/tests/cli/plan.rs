//! `ar-sample plan`.

use ar_video::read_clip;

use super::Folder;

#[test]
fn a_plan_is_printed_and_drawn() {
    let folder = Folder::new();
    let text = folder.ok("plan --frames 3 --steps 2 --ar-step 1 --picture plan.svg");
    let expected = "\
3 frames, 2 steps, step difference 1: 4 iterations
frame evaluations: 12 over whole windows
                    6 over active frames only (2.0x fewer)

a number is the step that a frame takes, . waits, # is finished

iteration   0 1 2
        0   1 . .
        1   2 1 .
        2   # 2 1
        3   # # 2
";
    assert_eq!(text, expected);
    let svg = String::from_utf8(folder.read("plan.svg")).expect("text");
    assert!(svg.starts_with("<svg") && svg.contains("iteration") && svg.contains("waiting"));
    folder.ok("plan --picture plan.png");
    let picture = read_clip(folder.path("plan.png")).expect("a picture");
    assert_eq!(picture.frames().len(), 1);
}
