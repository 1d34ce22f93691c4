"""Tables of answers: who is the machine, who a reader; what each got right, the vote, and the layouts for other programs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from micrographs.manifest import NO_ANSWER

VOTE, MEAN = "majority vote", "panel mean"
MACHINE, OTHER, READER = "machine", "other machine", "reader"


def combine(panel: pd.DataFrame, machine: pd.DataFrame) -> pd.DataFrame:
    """Answers of a panel and of the study's machine in one table.

    A decision maker of the panel who goes by the machine's name is called "<name> (panel)" from here on.
    """
    ours = set(machine["decision_maker"])
    names = panel["decision_maker"].map(lambda name: f"{name} (panel)" if name in ours else name)
    return pd.concat([panel.assign(decision_maker=names), machine], ignore_index=True)


def roles(sheets: pd.DataFrame) -> pd.Series:
    """What each decision maker is: the study's "machine", an "other machine", or a "reader".

    Of several machines the study's is the one called "machine", else the first.

    Returns
    -------
    Series
        Index: decision makers, in the order of the table.

    Raises
    ------
    ValueError
        When there is no machine, or a name stands for two kinds of decision maker.
    """
    kinds = sheets.groupby("decision_maker", sort=False)["kind"].unique()
    if len(twice := kinds.index[kinds.map(len) > 1]):
        raise ValueError(f"{twice[0]!r} is both {' and '.join(kinds[twice[0]])}; join panel and machine with `combine`")
    kinds = kinds.map(lambda found: found[0])
    machines = kinds.index[kinds == "machine"]
    if machines.empty:
        raise ValueError("no decision maker of the kind 'machine'; read the machine's answers.csv and `combine` them")
    ours = "machine" if "machine" in machines else machines[0]
    return kinds.map(lambda kind: OTHER if kind == "machine" else READER).where(kinds.index != ours, MACHINE).rename("role")


def of_readers(sheets: pd.DataFrame) -> pd.DataFrame:
    """The rows of the readers: people and simulated people, no machines."""
    return sheets[sheets["kind"] != "machine"]


def correct_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """Right (1) or wrong (0): one row a decision maker, one column an image.

    "No answer" is wrong. NaN where a decision maker has no row for an image: it was not shown.
    """
    right = sheets["answer"].to_numpy() == truth.reindex(sheets["image"]).to_numpy()
    table = sheets.assign(right=right.astype(float)).pivot(index="decision_maker", columns="image", values="right")
    return table.reindex(index=sheets["decision_maker"].unique(), columns=truth.index)


def machine_and_panel(sheets: pd.DataFrame, truth: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """What the study's machine (n_images,) and its readers (n_readers, n_images) got right; NaN where not shown."""
    right, role = correct_table(sheets, truth), roles(sheets)
    return right.loc[role.index[role == MACHINE][0]].to_numpy(), right.loc[role.index[role == READER]].to_numpy()


def specimen_index(truth: pd.Series, groups: pd.Series | None) -> np.ndarray:
    """Number of each image's specimen (n_images,); every image its own without ``groups`` (a Series by image)."""
    if groups is None:
        return np.arange(len(truth))
    found = groups.reindex(truth.index)
    if found.isna().any():
        raise ValueError(f"no specimen is given for the image {found.index[found.isna()][0]!r}")
    return pd.factorize(found)[0]


def majority_vote(panel: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """The panel's most frequent answer to each image, and the share of it that is right.

    A tie between k answers counts as right with 1/k where the right one is among them: what a coin would give
    on average, here and in every test and interval of the vote. Not answering is no vote.

    Returns
    -------
    DataFrame
        image, answer (tied ones joined by " | "), right (0 to 1; NaN where no reader was shown the image).
    """
    rows = []
    by_image = dict(list(panel.groupby("image")["answer"]))
    for image in truth.index:
        if image not in by_image:
            rows.append((image, "", np.nan))
            continue
        answers = by_image[image]
        votes = answers[answers != NO_ANSWER].value_counts()
        winners = sorted(votes.index[votes == votes.max()]) if len(votes) else [NO_ANSWER]
        rows.append((image, " | ".join(winners), (truth[image] in winners) / len(winners)))
    return pd.DataFrame(rows, columns=["image", "answer", "right"])


def confusion_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """How often each answer was given to each right answer: who (machine, panel), truth, answer, count."""
    role = sheets["decision_maker"].map(roles(sheets))
    table = pd.DataFrame({"who": role, "truth": truth.reindex(sheets["image"]).to_numpy(), "answer": sheets["answer"]})
    table = table[role != OTHER].replace({"who": {READER: "panel"}})
    return table.value_counts().rename("count").reset_index().sort_values(["who", "truth", "answer"], ignore_index=True)


def items_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """One row an image: image, truth, readers right of how many who saw it, the machine's and the vote's answer."""
    role = sheets["decision_maker"].map(roles(sheets))
    machine = sheets[role == MACHINE].set_index("image")["answer"].reindex(truth.index)
    panel = of_readers(sheets)
    right = correct_table(panel, truth)
    vote = majority_vote(panel, truth)
    return pd.DataFrame(
        {
            "image": truth.index,
            "truth": truth.to_numpy(),
            "n_readers": right.notna().sum(axis=0).to_numpy(),
            "n_readers_correct": right.sum(axis=0).astype(int).to_numpy(),
            "reader_accuracy": right.mean(axis=0).to_numpy(),
            "machine_answer": machine.to_numpy(),
            "machine_correct": machine.to_numpy() == truth.to_numpy(),
            "vote_answer": vote["answer"],
            "vote_right": vote["right"],
        }
    )


def mrmc_table(sheets: pd.DataFrame, truth: pd.Series) -> pd.DataFrame:
    """All answers in the long form of R's multi-reader multi-case packages: one row a reader, case and modality.

    The machine's answers stand once for every reader, on the images that the reader saw, as these packages want every
    reader in both modalities. In R, the difference machine minus panel is::

        d <- read.csv("mrmc.csv", stringsAsFactors = TRUE)
        m <- with(d, tapply(score, list(readerID, caseID, modalityID), mean))
        mean(m[, , "machine"] - m[, , "panel"], na.rm = TRUE)

    With iMRMC (U-statistics; readers and cases random)::

        iMRMC::uStat11.conditionalD(d, modalitiesToCompare = c("machine", "panel"))[c("mean", "var")]

    With MRMCaov (Obuchowski and Rockette; complete panels only), where being right is a sensitivity and two cases of the
    other status, which it asks for and leaves out, are added::

        other <- expand.grid(readerID = levels(d$readerID), caseID = c("none 1", "none 2"),
                             modalityID = levels(d$modalityID), score = 0, status = 0)
        both <- rbind(cbind(d[1:4], status = 1), other)
        summary(MRMCaov::mrmc(MRMCaov::binary_sens(status, score), modalityID, readerID, caseID, data = both))

    Returns
    -------
    DataFrame
        readerID, caseID, modalityID ("machine" or "panel"), score (1 right, 0 wrong), truth, answer, confidence.
    """
    role = sheets["decision_maker"].map(roles(sheets))
    columns = ["image", "answer", "confidence"]
    panel = sheets.loc[role == READER, ["decision_maker", *columns]]
    repeated = panel[["decision_maker", "image"]].merge(sheets.loc[role == MACHINE, columns], on="image")
    table = pd.concat([repeated.assign(modalityID="machine"), panel.assign(modalityID="panel")], ignore_index=True)
    label = truth.reindex(table["image"]).to_numpy()
    table = pd.DataFrame(
        {
            "readerID": table["decision_maker"],
            "caseID": table["image"],
            "modalityID": table["modalityID"],
            "score": (table["answer"].to_numpy() == label).astype(int),
            "truth": label,
            "answer": table["answer"],
            "confidence": table["confidence"],
        }
    )
    return table.sort_values(["modalityID", "readerID", "caseID"], ignore_index=True)
