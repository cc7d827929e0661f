//! Faults of the published work, each with evidence of this run.

use assay_experiment::ExperimentError;
use assay_experiment::page::{COUNT, Page, SHARE, shown};
use assay_experiment::subject::Subject;
use assay_record::Erratum;

pub(crate) fn write(page: &mut Page, subjects: &[Subject<'_>]) -> Result<(), ExperimentError> {
    let (mut noise, mut kernels) = (Vec::new(), Vec::new());
    for s in subjects {
        let model = s.model()?;
        let fits = model.measures.keys().filter(|n| n.starts_with("fit."));
        let mut negative = 0;
        for name in fits {
            negative += usize::from(model.get_series(name)?[4] < 0.0);
        }
        let id = s.id("negative");
        let what = format!("published fits whose sum of MMD2 ends below 0, {}", s.name);
        page.put(&id, &what, negative as f64, COUNT, &s.origin)?;
        noise.push(format!(
            "{}: {} of {} fits end below 0.",
            s.name,
            shown(&id),
            shown(&s.id("fits"))
        ));
        let l1 = model.get("l1")?;
        let zero = model.get(&format!("zero-share.{l1}"))?;
        let id = s.id("zero-share");
        let what = format!(
            "share of kernel values that are exactly 0 in f32 at log l = 0, layer l1, {}",
            s.name
        );
        page.put(&id, &what, zero, SHARE, &s.origin)?;
        kernels.push(format!(
            "{}: {} of the kernel's values are exactly 0 at log l = 0; below its own median lie {} of {} \
             dimensions; started at Z the overlap with Z is {}, from log l = 0 {}.",
            s.name,
            shown(&id),
            shown(&s.id(&format!("lengths.{l1}.zeros.size-published"))),
            s.record.facts.d_model,
            shown(&s.id(&format!("lengths.{l1}.svd.overlap"))),
            shown(&s.id(&format!("lengths.{l1}.zeros.overlap"))),
        ));
    }
    let none = "No model was measured.";
    let text = |all: Vec<String>| {
        if all.is_empty() {
            none.to_owned()
        } else {
            all.join(" ")
        }
    };
    let computed = !subjects.is_empty();
    page.summary.errata.push(Erratum {
        id: "E18".to_owned(),
        claimed: "Minimising MMD2 over lengths finds the dimensions in which languages agree.".to_owned(),
        truth: "The unbiased estimate can be negative, and its minimum is where sampling noise makes it so; \
                all other lengths grow without end."
            .to_owned(),
        evidence: text(noise),
        computed,
    });
    page.summary.errata.push(Erratum {
        id: "E21".to_owned(),
        claimed: "|Z| is the number of short lengths, and it overlaps with the weights' Z.".to_owned(),
        truth: "From log l = 0 the f32 kernel of wide models is exactly 0, |Z| by the median is half of the \
                dimensions by construction, and the overlap after a start at Z is circular."
            .to_owned(),
        evidence: text(kernels),
        computed,
    });
    Ok(())
}
