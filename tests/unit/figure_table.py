"""What each panel of each figure must say: the paper's figures, and our own.

A panel is (x label, x scale, y label, y scale, entries of the legend as patterns).
"""

N = "Parameters (non-embedding)"
LOSS = "Test loss (nats per token)"
COMPUTE = "Compute (PF-days, non-embedding)"
TOKEN = "Token index in context"
POWER = r"\$.*\^.*\$"  # a law with its exponent
PAPERS = r"paper: \$.*\$"
CORPORA = ["Test split", "Books", "Common Crawl", "Internet Books", "Wikipedia"]
SCAN = r"from the scan of .* parameters"

PANELS = {
    "fig01": [
        (
            r"Compute at small batches, $C_\mathrm{min}$ (PF-days)",
            "log",
            LOSS,
            "log",
            ["learning curves", "frontier", POWER, PAPERS],
        ),
        (
            "Data set size (tokens)",
            "log",
            "",
            "log",
            ["runs", "left out of the fit", POWER, PAPERS],
        ),
        (N, "log", "", "log", ["runs", POWER, PAPERS]),
    ],
    "fig02": [("Tokens processed", "log", LOSS, "log", []), (COMPUTE, "log", "", "log", [])],
    "fig03": [
        (
            "Compute (PF-days)",
            "log",
            y,
            "log",
            [rf"{part}: .* times" for part in ("serial steps", "batch size", "model size")],
        )
        for y in ("Growth (times)", "")
    ],
    "fig04": [
        ("Tokens in data set", "log", LOSS, "log", ["runs", "fit"]),
        (r"Steps at large batches, $S_\mathrm{min}$", "log", "", "log", ["runs", "fit"]),
    ],
    "fig05": [
        (
            r"Feed-forward ratio, $d_\mathrm{ff}/d_\mathrm{model}$",
            "log",
            "Loss increase (%)",
            "linear",
            ["25.1k"],
        ),
        (r"Aspect ratio, $d_\mathrm{model}/n_\mathrm{layer}$", "log", "", "linear", ["113k"]),
        (
            r"Head dimension, $d_\mathrm{model}/n_\mathrm{head}$",
            "log",
            "",
            "linear",
            ["113k: 3 x 56"],
        ),
    ],
    "fig06": [
        (
            "Parameters (with embedding)",
            "log",
            LOSS,
            "log",
            [
                "0 layers",
                "1 layer",
                "2 layers",
                "3 layers",
                "4, 5 layers",
                "6 layers",
                "> 6 layers",
            ],
        ),
        (
            N,
            "log",
            "",
            "log",
            ["1 layer", "2 layers", "3 layers", "4, 5 layers", "6 layers", "> 6 layers"],
        ),
    ],
    "fig07": [
        (N, "log", LOSS, "log", ["Transformers", "LSTMs, 1 layer", "LSTMs, 2 layers"]),
        (TOKEN, "log", "Per-token test loss (nats)", "log", ["LSTM, .*", "Transformer, .*"] * 3),
    ],
    "fig08": [
        (N, "log", "Loss (nats per token)", "log", []),
        (
            "Loss on test split (nats)",
            "log",
            "Loss on other text (nats)",
            "log",
            ["in training, largest model", "after training, all models"],
        ),
    ],
    "fig09": [
        (N, "log", LOSS, "log", ["runs"]),
        (
            r"$N^{\alpha_N/\alpha_D}/D$",
            "log",
            r"$L(N,D)\,/\,L(N,\infty)-1$",
            "linear",
            [r"eq\. 4\.3 with this fit"],
        ),
    ],
    "fig10": [
        (
            LOSS,
            "log",
            "Critical batch size (tokens)",
            "log",
            ["gradient noise scale", SCAN, SCAN, r"\$B_.*\$", r"paper: \$B_.*\$"],
        ),
    ],
    "fig11": [(N, "log", LOSS, "log", []), (N, "log", LOSS, "log", [])],
    "fig12": [
        (
            r"Size over the best, $N\,/\,N_\mathrm{efficient}$",
            "log",
            y,
            "linear",
            ["paper, Table 3", "own runs"],
        )
        for y in (r"Compute, $C\,/\,C_\mathrm{efficient}$", r"Steps, $S\,/\,S_\mathrm{efficient}$")
    ],
    "fig13": [
        (
            COMPUTE,
            "log",
            LOSS,
            "log",
            ["fixed batch, C", POWER, r"small batches, \$C_\\mathrm{min}\$", POWER],
        ),
    ],
    "fig14": [
        (
            COMPUTE,
            "log",
            N,
            "log",
            ["fixed batch, C", POWER, r"small batches, \$C_\\mathrm{min}\$", POWER, PAPERS],
        ),
        (
            COMPUTE,
            "log",
            "Steps",
            "linear",
            ["S, fixed batch", r"\$S_\\mathrm{min}\$, adjusted", POWER],
        ),
    ],
    "fig15": [
        (
            "Compute (PF-days)",
            "log",
            LOSS,
            "log",
            [
                r"\$L\(C_\\mathrm{min}\)\$",
                r"\$L\(D\(C\)\)\$, Table 6",
                r"\$1\.1 \\times 10\^\{4\}\$ PF-days, 1\.67 nats",
                r"\$L\(D\(C\)\)\$, eq\. 6\.7",
                r"\$1\.1 \\times 10\^\{5\}\$ PF-days, 1\.49 nats",
            ],
        ),
        (
            "Compute (PF-days)",
            "log",
            "",
            "log",
            [
                r"\$L\(C_\\mathrm{min}\)\$",
                r"\$L\(D\(C\)\)\$, own \$N\(C_\\mathrm\{min\}\)\$",
                ".* PF-days, .* nats",
            ],
        ),
    ],
    "fig16": [
        (
            r"$S_c\,[L(N,D)-L(N,\infty)]^{-1/\alpha_S}$",
            "log",
            r"Step of the least loss, $S_\mathrm{stop}$",
            "log",
            [r"bound of eq\. 5\.7"],
        ),
        ("Step", "log", "Loss (nats per token)", "log", ["test", "train"]),
    ],
    "fig17": [
        (x, "log", y, "log", ["no reuse", "2x reuse", "4x reuse"])
        for x, y in (("Parameters, reuse counted (non-embedding)", LOSS), (N, ""))
    ],
    "fig18": [
        ("Step", "log", "Tokens processed", "log", ["runs", r"hyperbola, eq\. 5\.1"]),
        ("Step", "log", "", "log", []),
    ],
    "fig19": [
        (N, "log", r"Least steps, $S_\mathrm{min}$", "log", []),
        (N, "log", r"Least tokens, $E_\mathrm{min}$", "log", []),
    ],
    "fig20": [
        (
            TOKEN,
            "log",
            "Per-token test loss (nats)",
            "log",
            ["models", r"\$L_T = a \+ b\\,T\^{-c}\$"],
        ),
        ("Step", "log", "Per-token test loss (nats)", "log", []),
    ],
    "fig21": [
        (N, "log", "Per-token test loss (nats)", "log", ["context of 128", "context of 8"]),
    ],
    "fig22": [
        ("Step", "linear", "Learning rate", "linear", []),
        (
            "Learning rate, summed over steps",
            "log",
            LOSS,
            "log",
            ["constant", "cosine", "linear"],
        ),
    ],
    "fig23": [
        (
            N,
            "log",
            "Test loss after training (nats per token)",
            "log",
            ["runs", POWER, r"\$L = -.*\\ln.*\$", PAPERS, r"paper: \$L = -0\.25\\,\\ln.*\$"],
        ),
    ],
    "fig24": [("Layers", "log", "Loss (nats per token)", "log", CORPORA)],
    "corpus": [("Share of what the stage read (%)", "linear", "", "linear", [])],
    "duplicates": [
        (
            "Similarity of a pair (Jaccard)",
            "linear",
            "Chance",
            "linear",
            [],
        ),
        ("", "linear", "Near duplicates dropped", "linear", []),
    ],
    "held_out": [(LOSS, "linear", "", "linear", [])],
    "conventions": [
        (
            r"Exponent of the best size, $N_\mathrm{opt} \propto C^{\,a}$",
            "linear",
            "",
            "linear",
            [],
        ),
    ],
    "critical_batch": [
        (
            LOSS,
            "log",
            "Critical batch size (tokens)",
            "log",
            [
                "gradient noise scale",
                r"hyperbola, \$E_\\mathrm{min}/S_\\mathrm{min}\$",
                r"tokens 20 % over the least, over 0\.2",
            ],
        ),
    ],
    "cost": [
        ("Training compute (PF-days, attention and head counted)", "linear", "", "linear", []),
    ],
}
"""Figure 'residuals' has a panel for each law, and is tested by itself."""

COLOURS = {
    "fig02": [N],
    "fig04": [N],
    "fig09": ["Tokens in data set"],
    "fig11": ["Compute (PF-days)", "Steps"],
    "fig16": ["Tokens in data set"],
    "fig18": [LOSS],
    "fig19": [LOSS],
    "fig20": [N, TOKEN],
    "fig21": [TOKEN],
    "cost": [N],
}
OUTSIDE = {"fig08": CORPORA, "duplicates": ["chance to be a candidate", "threshold 0.5"]}
