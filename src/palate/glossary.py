"""The words of this field as palate uses them: one table for pages, terminal and documentation."""

GLOSSARY: dict[str, str] = {
    "prompt": "What the model is asked: the text or conversation that a completion goes on from.",
    "completion": "What the model answers. Only its tokens are scored; the prompt is context.",
    "chosen": "The better of two completions of one prompt.",
    "rejected": "The worse of two completions of one prompt, ideally a near-miss.",
    "pair": "One prompt, two completions, one verdict: chosen beats rejected.",
    "near-miss": "A rejected answer that is plausible and falls short on one nameable point. "
    "Pairs of fine against better teach; great against garbage does not.",
    "SFT": "Supervised fine-tuning: imitate the completions shown. Every token gets the same push, "
    "whatever the model already says. It shows what to say.",
    "DPO": "Direct preference optimisation: make chosen likelier than rejected, measured against a "
    "reference. It is SFT with a weight per sequence: plus on chosen, minus on rejected, and less "
    "the more clearly the model already prefers chosen. Rafailov et al. 2023.",
    "RLHF": "Reinforcement learning from human feedback: train a reward model on the pairs, then "
    "raise its score with PPO. The older, heavier way to the same goal.",
    "cartoon": "A rejected answer that the model would never have written: spam, shouting, another "
    "topic. Rejecting it teaches next to nothing, and sharpens what the model says anyway.",
    "hairline": "A pair whose two answers are nearly the same words (under a tenth differ). Clear, "
    "but both can lose probability in training.",
    "strangers": "A pair whose two answers share hardly a word (over nine tenths differ): nothing "
    "tells which difference was meant.",
    "near-miss map": "Every pair as a dot: how plausible its rejected answer is, and how far apart "
    "the two answers are. Zones: cartoon, near miss, hairline, strangers.",
    "plausible": "How much of the model's own writing, at that length, is less likely than this "
    "answer. Without a model: how familiar its spelling is in this file.",
    "off-policy": "Written by somebody or something else than the model in training. AUC says how "
    "surely the two can be told apart: 0.5 not at all, 1 always.",
    "PMI": "Pointwise mutual information: how much likelier an answer is after its prompt than "
    "after none. At 0 or below it is not about the prompt.",
    "ln-CHES": "Length-normalised centred hidden embedding similarity: how alike chosen and "
    "rejected look inside the model; where it is high, both tend to lose (Razin et al. 2024).",
    "nats": "The unit of a log-prob: 0.69 nats less is half as likely, 2.3 a tenth.",
    "blind below": "The smallest share of pairs in which this check would have seen anything.",
    "tag": "A word with a pair that says why chosen wins; `reason` says it in a sentence.",
    "policy": "The model that is being trained.",
    "reference": "The model that DPO started from, locked. The policy is held near it, and "
    "every log-ratio is measured against it.",
    "log-prob": "Natural logarithm of a probability, in nats; of a completion, summed over its "
    "tokens. 0 is certain, \N{MINUS SIGN}0.69 is one half, \N{MINUS SIGN}2.3 is a tenth.",
    "log-ratio": "Log-prob under the policy less that under the reference: above 0, training "
    "has made it likelier.",
    "implicit reward": "beta times the log-ratio: what DPO takes as the score of a completion.",
    "margin": "Implicit reward of chosen less that of rejected. 0 at the start; above 0, the "
    "policy prefers chosen more than the reference did.",
    "beta": "How firmly DPO holds to the reference: a larger beta lets the policy move less "
    "before a pair counts as learnt.",
    "weight": "How hard a sequence is pushed: the loss's slope by its log-prob, with the sign "
    "turned. DPO's is beta times sigmoid(\N{MINUS SIGN}margin): beta for a pair ranked all wrong, "
    "half of it at the start, near 0 once learnt. It fades; it is never none.",
    "push": "Length of the gradient at a token's logits: |weight| times "
    "||softmax \N{MINUS SIGN} onehot||. "
    "Near 0 where the model already agrees, whatever the weight.",
    "gradient mass": "The pushes of all tokens of a completion, or of a pair, added up.",
    "softmax - onehot": "What SFT's gradient is at one token's logits: the model's probabilities "
    "less the token that stands there. DPO's is the same, times the weight.",
    "shared prefix": "Tokens that chosen and rejected have in common at their start. Their two "
    "pushes cancel exactly: no push as targets. They are still trained as context, through "
    "the keys and values that later tokens read.",
    "first divergence": "The first token that differs. Both sides see the same context there, so "
    "their pushes add up to one token up and one down, nothing else: length weight times sqrt(2).",
    "learnt": "A pair whose weight is below a tenth of full: little is left to push. A pair may be "
    "ranked right long before.",
    "class": "What became of a pair in training, by the margins that its steps met. Ended ranked "
    "right: at-once, gained, or flipped (it was clearly wrong before). Not: never, or lost (it was "
    "right before). Once: met a single time.",
    "regime": "learnt (weight below a tenth of full), undecided, or wrong (above nine tenths).",
    "accuracy": "Share of held-out pairs whose margin is above 0; ties count half.",
    "displacement": "Chosen and rejected both become less likely, and what gains is neither.",
    "LoRA": "Low-rank adaptation: train small matrices beside frozen weights. Hu et al. 2021.",
    "stage": "sft, dpo, reward or ppo: what one command trains.",
    "run": "The folder that one command wrote: its record, metrics, checkpoints and final weights.",
    "judgement": "A person's or a judge's verdict on two answers: one is better, much better, "
    "about equal, or both are bad.",
    "judge": "Who gives verdicts: a person, a program, a model, or a file of pairs.",
    "presentation": "Two answers as one judge saw them: which stood left is chance, and kept.",
    "re-ask": "A pair shown once more, sides swapped and unmarked, to measure how sure the judge "
    "is. It makes no pair of its own.",
    "self-agreement": "How often a judge chose the same answer again in re-asks. From it follow "
    "the accuracy that no model can pass, and a measured label smoothing.",
    "audit": "A chosen answer against a fresh one of the model, judged blind.",
    "store": "One SQLite file with prompts, answers and every verdict ever given.",
    "predictive entropy": "How undecided the model is about what to answer: minus the log-prob "
    "of its own answers, on average.",
    "preference certainty": "How sure the policy is which of two answers is better: the "
    "difference of their implicit rewards, whichever way.",
    "reward": "A number for an answer, from a program, a rubric or a reward model. Higher is "
    "better; the unit is its own.",
    "reward model": "A language model with one number at the end of a text instead of a next "
    "word, trained so that chosen gets more than rejected (Bradley and Terry 1952).",
    "calibration": "Whether a stated chance comes true: of the pairs where it says 80%, is chosen "
    "really the better one in 80%?",
    "rollout": "A text that the policy draws in training, to be scored and learnt from.",
    "PPO": "Proximal policy optimisation: draw texts, score them, and make the tokens of good ones "
    "likelier, by small clipped steps. Schulman et al. 2017.",
    "RLOO": "Reinforcement without a value head: an answer is held against the mean of the others "
    "of its prompt. Ahmadian et al. 2024.",
    "GRPO": "As RLOO, but against the mean and spread of the whole group. Shao et al. 2024.",
    "online DPO": "DPO on pairs that the policy has just drawn, and a reward or a judge has "
    "ordered.",
    "advantage": "How much better a token turned out than was expected when it was drawn: the "
    "weight that a policy gradient gives it, up above 0 and down below.",
    "value": "What the policy's own second head expects of the rest of a text, token by token.",
    "KL": "How far the policy has moved from its reference, in nats per text, measured on its own "
    "texts. Reward that was bought with little KL is cheap.",
    "frontier": "Reward against KL for many policies: one that lies above and left of another is "
    "better in both.",
    "best-of-n": "Draw n answers, keep the one with the highest reward. No training, n times the "
    "drawing.",
    "rejection-sampling SFT": "SFT on the best of n drawn answers.",
    "win rate": "Share of prompts on which one model's text was judged better, a tie half a win.",
    "length-controlled": "The win rate that would be left if both texts were equally long, by a "
    "logistic fit.",
    "indistinguishable": "The interval holds no difference: these data cannot tell the two apart. "
    "It does not say that they are equal.",
    "negative control": "The same recipe on labels by a coin. If it wins too, the evaluation is "
    "broken.",
    "rubric": "Small checks in a file: must contain, must not, numbers in the prompt, at most n "
    "words.",
    "looks": "How often a held-out set has been used. Each look makes it a little less held out.",
    "power": "How often a comparison of that size finds a true difference: 80% is usual.",
}
