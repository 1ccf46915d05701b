"""The fixed words of docs/dpo-or-rlhf.md: what was asked, what the paper says, what to mind."""

TITLE = "# DPO or RLHF?"

NOTES = """
Points are the demo's taste, a program: one for a fact stated, two off for a wrong one, some off
for vague phrases, boasts and repetitions. KL is exact at every token (the sum over the whole
vocabulary, not the log-ratio of the drawn token), on the policy's own texts at temperature 1, and
always from the seed's SFT model. For best of n it is the bound `log n − (n − 1)/n` (Stiennon et
al. 2020; a bound, Beirami et al. 2024), which is why its line in the picture may lie too far to
the right, never too far to the left. Held-out accuracy is that of the implicit reward against the
model an arm started from. Bands and bars in the picture reach from the lowest to the highest
seed."""

GRID_NOTE = """
Points over SFT at the end of a run. The best is the learning rate with the best mean over seeds;
a run counts if it reaches 90% of that mean. The runs of one rate differ by what 120 texts cannot
tell apart, so not even a method that does not mind would reach 100%."""

COST_NOTE = """
Seconds of one core's time for the training command alone (the least of the seeds, as other work
ran beside it), without the drawing of texts for pairs, which DPO and the reward model need alike;
memory is the peak above a process that has only loaded the libraries. PPO with a learnt reward
needs the reward model's line as well as its own. *Settings of its own* are flags that the command
has beyond those that all stages share. On a model this small the second and third model weigh
little; at 7 B parameters in 16 bits each is 14 GB."""

PAPER = """
## What the paper says, and what speaks against it

The picture follows figure 2 (left) of Rafailov et al. 2023 (arXiv:2305.18290): reward against KL
on IMDb, a sentiment classifier as the true reward, beta 0.05, 0.1, 1 and 5. Its code for IMDb is
not in the authors' repository (which loads HH, SHP and Stack Exchange), so this is no
reproduction; it asks the same question of another domain, a smaller model and exact rewards.

Read at second hand, not in the papers themselves:

- Decoded from the figure's vector data by a third party, 34 of 35, 28 of 29 and 26 of 27 points
  of the paper's three PPO series are beaten on both axes by some point of DPO (which series is
  which was not said).
- On TL;DR the paper's judge prefers DPO to the reference summaries 61.7% of the time, PPO 57.0%:
  256 comparisons each, z = 1.1, so the two cannot be told apart by this figure.
- On HH, DPO (62.9%) and best of 128 (60.8%) are not separable either.
- **Against it:** with PPO tuned well, Xu et al. 2024 (arXiv:2404.10719) report the reverse: 0.718
  against 0.611 on HH, and 22.4% against 0% on CodeContest.
- Tulu 3 found PPO comparable or slightly lower, at 28 hours on two nodes against 4 hours on one.

So what a task, a size and an effort of tuning say here is theirs alone. Ours is below."""

ASKED = """
## What was asked, and how

A base model, analysts' examples and one taste: what is the best way to a policy that has it? The
domain is that of `palate demo` and the taste its program, so the true reward of every text is
known. Each seed has its own sheets, examples, SFT model, drawn texts, pairs and noise.

- All arms of a seed start from its SFT model, but SFT itself and the two named *base → DPO*.
- *Pairs*: of four texts of the SFT model for a prompt the best one, and the best of those a point
  or more behind it. Every arm that learns from pairs sees the same ones: DPO and its kin four
  times at the demo's learning rate (8e-4), the reward model four times and SFT on chosen six
  times, both at palate's own rate for their stage (1e-3, 3.2e-3).
- *PPO* and *RLOO* draw new texts for the same prompts and are paid either by the program itself,
  which a person's taste never offers, or by a reward model learnt from the same pairs.
- *Judge likes length*: the same texts, paired by the taste plus a quarter of a point for each
  word.
- Last weights count; no step was selected. The best beta is picked after the fact, and is
  flattered by that."""

COMMAND = """
`make study-frontier` (`python scripts/study_frontier.py`) runs it again and writes this page but
for the part by hand; about an hour on two cores that do nothing else. A stopped run goes on where
it was, and arms that are missing are filled in; `--only "ppo,rloo"` runs some, `--write-only`
none."""
