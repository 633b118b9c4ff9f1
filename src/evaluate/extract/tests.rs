//! Results in the texts of answers, by tables, and with hostile texts.

use super::*;

fn extracted(task: Task, answer: &str) -> String {
    extract_result(task, answer).unwrap_or_else(|| "-".to_owned())
}

#[test]
fn the_number_of_an_answer_is_the_marked_the_boxed_or_the_last_one() {
    for (answer, expected) in [
        (" 3 + 4 = 7\n#### 7\n\n", "7"),
        ("He has $1,234.50 in all.", "1234.5"),
        ("#### 1,000,000", "1000000"),
        ("#### $18.00", "18"),
        ("#### -3", "-3"),
        ("It is -$5.", "-5"),
        ("10-3 is 7, not 8.\n#### 7 apples (of 10)", "7"),
        ("so 5-3", "3"),
        ("f(2)-3", "3"),
        ("1,2 and 3,4567", "4567"),
        ("the answer is \\boxed{42}, as 6 * 7 says; 9", "42"),
        ("\\boxed{x = 007}", "7"),
        ("\\boxed{nothing} 12", "12"),
        ("####\n13", "13"),
        ("<think>#### 1</think> #### 2", "2"),
        ("0.50", "0.5"),
        (".5", "0.5"),
        ("-0", "0"),
        ("no digits", "-"),
        ("", "-"),
        ("٣", "-"),
        ("1e5", "5"),
        ("a\u{301}5€", "5"),
    ] {
        assert_eq!(extracted(Task::Gsm8k, answer), expected, "{answer:?}");
    }
    assert_eq!(extracted(Task::Gsm8k, &"9".repeat(100)), "-");
}

#[test]
fn the_result_of_aime_is_a_boxed_integer() {
    for (answer, expected) in [
        ("\\boxed{073}", "73"),
        ("first \\boxed{1}, then $\\boxed{ 204 }$.", "204"),
        ("\\boxed{m+n=33}", "33"),
        ("\\boxed{\\text{25}}", "25"),
        ("\\boxed{\\boxed{7}}", "7"),
        ("\\boxed{1000}", "-"),
        ("\\boxed{-1}", "-"),
        ("\\boxed{1/2}", "-"),
        ("\\boxed{}", "-"),
        ("\\boxed{5", "-"),
        ("204", "-"),
    ] {
        assert_eq!(extracted(Task::Aime, answer), expected, "{answer:?}");
    }
}

/// Pairs of notations of one expression; the right side is also its own form.
#[test]
fn notations_of_one_expression_have_one_form() {
    for (notation, form) in [
        ("\\dfrac{1}{2}", "\\frac{1}{2}"),
        ("\\frac12", "\\frac{1}{2}"),
        ("\\frac 1 2", "\\frac{1}{2}"),
        ("1/2", "\\frac{1}{2}"),
        ("-1/2", "-\\frac{1}{2}"),
        ("\\frac{-1}{2}", "-\\frac{1}{2}"),
        ("\\frac{\\frac12}3", "\\frac{\\frac{1}{2}}{3}"),
        ("\\sqrt3", "\\sqrt{3}"),
        ("2\\sqrt[3]{5}", "2\\sqrt[3]{5}"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})"),
        ("10\\text{ cm}", "10"),
        ("864 \\mbox{ inches}^2", "864"),
        ("8\\text{ m}^{3}", "8"),
        ("10\\,\\text{cm}", "10"),
        ("3\\text{ or }5", "3or5"),
        ("4210_{5}", "4210_5"),
        ("x^{2}", "x^2"),
        ("2^{10}", "2^{10}"),
        (
            "\\begin{pmatrix} -1/3 \\\\ 2 \\end{pmatrix}",
            "\\begin{pmatrix}-\\frac{1}{3}\\\\2\\end{pmatrix}",
        ),
        ("x/2", "x/2"),
        ("1/2/3", "1/2/3"),
        ("2^3/4", "2^3/4"),
        ("\\text{Evelyn}", "Evelyn"),
        ("\\text{(C)}", "C"),
        ("x = 5", "5"),
        ("x=5.", "5"),
        ("11,\\! 111,\\! 111", "11111111"),
        ("1{,}000", "1000"),
        ("50\\%", "50"),
        ("90^\\circ", "90"),
        ("90^{\\circ}", "90"),
        ("\\$32,348", "32348"),
        ("5.00", "5"),
        (".5", "0.5"),
        ("x \\in [-2,7]", "x\\in[-2,7]"),
        ("3 \\leq x", "3\\le x"),
        ("\\{1, 2\\}", "\\{1,2\\}"),
        ("p - q", "p-q"),
        ("2\\pi r", "2\\pi r"),
        (
            "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
            "\\begin{pmatrix}1\\\\2\\end{pmatrix}",
        ),
    ] {
        assert_eq!(normalize_latex(notation).as_deref(), Some(form), "{notation}");
        assert_eq!(normalize_latex(form).as_deref(), Some(form), "{form}");
    }
    for empty in ["", " ", "$$", "\\,", "\\"] {
        assert_eq!(normalize_latex(empty), None, "{empty:?}");
    }
    // There is no algebra.
    assert_ne!(normalize_latex("x+1"), normalize_latex("1+x"));
}

#[test]
fn the_last_balanced_box_counts() {
    for (answer, expected) in [
        ("\\boxed{\\frac{1}{2}} or \\boxed{3", "\\frac{1}{2}"),
        ("{ \\boxed{4}", "4"),
        ("} \\boxed{4} }", "4"),
        ("\\boxed{\\{4\\}}", "\\{4\\}"),
        ("\\boxed{a}\n\\boxed{b}", "b"),
        ("\\\\boxed{4}", "-"),
        ("\\é\\boxed{4}", "4"),
    ] {
        assert_eq!(extracted(Task::Math500, answer), expected, "{answer:?}");
    }
}

#[test]
fn the_letter_of_a_choice_is_boxed_or_after_the_word() {
    for (answer, expected) in [
        ("\\boxed{C}", "C"),
        ("\\boxed{\\text{(B)}}", "B"),
        ("\\boxed{D) 5 m}", "D"),
        ("\\boxed{(A) It falls}", "A"),
        ("A is wrong. The answer is **D**.", "D"),
        ("Answer: (C)", "C"),
        ("answer A, no: the final answer is option $\\text{B}$", "B"),
        ("The answer is A cat", "A"),
        ("The answer is Because", "-"),
        ("a is it", "-"),
        ("\\boxed{E} answer: B", "B"),
        ("Answer", "-"),
        ("", "-"),
    ] {
        assert_eq!(extracted(Task::Gpqa, answer), expected, "{answer:?}");
    }
}

#[test]
fn a_hostile_answer_costs_one_pass() {
    let deep = "\\boxed{".repeat(200_000);
    let closed = format!("{deep}7{}", "}".repeat(200_000));
    let words = "answer".repeat(200_000);
    for task in [Task::Gsm8k, Task::Aime, Task::Math500, Task::Gpqa] {
        assert_eq!(extract_result(task, &deep), None);
        let _ = extract_result(task, &closed);
        assert_eq!(extract_result(task, &words), None);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_a_result_is_never_empty(
        text in "(\\\\(boxed|frac|sqrt|text|left|circ|[^a])|[{}$#.,0-9=/()A-D -]|answer|</think>|\\PC){0,40}",
    ) {
        for task in [Task::Gsm8k, Task::Aime, Task::Math500, Task::Gpqa] {
            for text in [text.clone(), format!("\\boxed{{{text}}}")] {
                if let Some(result) = extract_result(task, &text) {
                    proptest::prop_assert!(!result.is_empty() && result.len() <= 16 << 10);
                }
            }
        }
    }
}
