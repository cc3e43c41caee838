//! R14: a node that comes and goes.

use super::*;

/// R14: it comes and goes, and is unstable from the fifth change on; nobody fails, and eyes see five changes at most. The five
/// minutes of the row run in virtual time, in `core`.
#[tokio::test(flavor = "multi_thread")]
async fn r14_a_flapping_node_is_held_down() {
    let (bad, _good, gateway) = bad_and_good().await;
    let mut seen = vec!["up".to_owned()];
    let (mut is_there, mut turns) = (true, 0);
    while turns < 9 {
        if is_there {
            bad.set_fault(FaultRule::from(Fault::DieBeforeFirstByte));
        } else {
            bad.clear_fault();
        }
        is_there = !is_there;
        turns += 1;
        let turned = Instant::now();
        // Time for three misses or two answers: somebody opens the menu again and again, and each time it is looked at.
        while turned.elapsed() < Duration::from_millis(1_200) {
            let end = chat(&gateway, "m", false).await.unwrap();
            assert!(end.is_whole(), "{end:?}");
            let state = state_of(&gateway.snapshot().await, "bad");
            if seen.last() != Some(&state) {
                seen.push(state);
            }
            let look = gateway.http.post(format!("{}/control/v1/look", gateway.url));
            look.bearer_auth(&gateway.token).send().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(seen.last().map(String::as_str), Some("degraded"), "{seen:?}");
    assert!(seen.len() - 1 <= 5, "{seen:?}");
    let told = gateway.node("bad").await;
    assert!(told.why.as_deref().unwrap().contains("unstable"), "{told:?}");
}
