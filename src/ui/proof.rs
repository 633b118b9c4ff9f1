//! The engine's own word on the arguments of a plan.

use super::safe;
use crate::report::Proof;

/// Returns the verdict of the engine, and each value that is not as planned.
#[must_use]
pub fn proof(proof: &Proof) -> String {
    let mut lines = vec![
        String::new(),
        format!("proof  SGLang {} in {}", proof.sglang, proof.source),
    ];
    if let Some(refused) = &proof.refused {
        lines.push(format!("       refuses the arguments: {refused}"));
    } else if let Some(failed) = &proof.failed {
        lines.push(format!("       cannot be asked: {failed}"));
    } else if proof.compared == 0 {
        lines.push("       accepts the arguments".to_owned());
    } else if proof.differences.is_empty() {
        lines.push(format!(
            "       resolves the arguments as planned ({} values)",
            proof.compared
        ));
    }
    lines.extend(proof.differences.iter().map(|one| {
        format!(
            "       {}: {} planned, {} in the engine",
            one.field, one.planned, one.engine
        )
    }));
    let lines: Vec<String> = lines.iter().map(|line| safe(line).into_owned()).collect();
    lines.join("\n") + "\n"
}
