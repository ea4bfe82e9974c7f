"""Analyses of results: comparison of theory and spikes, spike statistics, figures, report.

xarray in, xarray out; a stored result is enough, neither torch nor a compiler is needed. Times are numbers in ms, or
Brian2 quantities, and frequencies and rates numbers in 1/ms, or quantities; results are labelled in s and Hz.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnnbio.analyses.accessor_plots import Plots
from mnnbio.analyses.alignment import ComparisonWarning
from mnnbio.analyses.avalanches import avalanches, branching_ratio, fit_power_law
from mnnbio.analyses.balance import current_balance, current_correlation
from mnnbio.analyses.binned_counts import binned_counts, population_rates
from mnnbio.analyses.circuit_text import stored_readout
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.comparison_table import Comparison
from mnnbio.analyses.complexity import lempel_ziv_complexity, shared_dimensionality
from mnnbio.analyses.correlograms import correlation_time, covariance_functions, cross_correlogram, spike_time_tiling
from mnnbio.analyses.covariances import mean_covariances, population_covariances
from mnnbio.analyses.decisions import accuracy_against_time, classification
from mnnbio.analyses.decoding import (
    choice_probabilities,
    compare_decoding,
    linear_decoder,
    predicted_accuracy,
    spike_accuracy,
)
from mnnbio.analyses.dynamics import dynamics, state_sentence
from mnnbio.analyses.learned_weights import weight_recovery
from mnnbio.analyses.membrane import compare_membrane, membrane_statistics
from mnnbio.analyses.mode_importance import (
    ablation_curve,
    curve_difference,
    curve_intervals,
    mode_importance,
    power_laws,
    pruning_curve,
)
from mnnbio.analyses.modes import (
    attractor_separation,
    condition_trajectories,
    mode_activity,
    orthogonal_coefficients,
    participation_ratio,
    principal_angles,
    switch_success,
)
from mnnbio.analyses.pair_correlations import correlation_distribution, count_correlations
from mnnbio.analyses.paired_trains import SpikeTrains
from mnnbio.analyses.rate_estimates import kernel_rate, optimal_bandwidth, psth
from mnnbio.analyses.responses import phase_diagram, step_response
from mnnbio.analyses.spectra import oscillation, population_spectra
from mnnbio.analyses.spike_distances import (
    interval_histogram_distance,
    smoothed_population_distance,
    smoothed_train_distance,
    spike_distance,
    van_rossum_distance,
    victor_purpura_distance,
)
from mnnbio.analyses.spike_matching import (
    SpikePairs,
    chance_match,
    match_spikes,
    match_spikes_least_shift,
    spike_match,
)
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.analyses.states import network_state, synchrony
from mnnbio.analyses.stimulus_information import discriminability
from mnnbio.analyses.surrogates import significance, surrogate_trains
from mnnbio.analyses.table_scores import (
    calibration_curve,
    class_scores,
    confusion_matrix,
    model_table,
    precision_recall_curve,
    regression_scores,
    roc_curve,
    unit_states,
)
from mnnbio.analyses.train_distances import distance_matrix, isi_distance, kreuz_spike_distance
from mnnbio.analyses.train_spectra import multitaper_spectra, welch_spectra
from mnnbio.analyses.train_table import as_spikes
from mnnbio.analyses.triggered_averages import spike_triggered_average, spike_triggered_rate, spike_triggered_voltage
from mnnbio.analyses.tuning import signal_and_noise_correlations, tuning_curves

if TYPE_CHECKING:
    from mnnbio.analyses.budget_plots import plot_error_budget
    from mnnbio.analyses.decoding_plots import plot_decoding, plot_discriminability, plot_tuning_curves
    from mnnbio.analyses.dynamics_plots import (
        plot_currents,
        plot_intervals,
        plot_phase_diagram,
        plot_population_rates,
        plot_response,
        plot_spectra,
        plot_stimuli,
    )
    from mnnbio.analyses.html_report import report, report_side_by_side
    from mnnbio.analyses.learner_scores import plot_learner_scores, plot_shared_moments
    from mnnbio.analyses.learning_page import learning_report
    from mnnbio.analyses.learning_plots import (
        plot_avalanches,
        plot_learning_history,
        plot_spike_match,
        plot_weight_recovery,
    )
    from mnnbio.analyses.membrane_plots import plot_voltages
    from mnnbio.analyses.mode_plots import (
        plot_dimensions,
        plot_mode_importance,
        plot_mode_trajectories,
        plot_removal,
        plot_separation,
        plot_switch_success,
    )
    from mnnbio.analyses.plots import (
        plot_accuracy,
        plot_confusion,
        plot_count_statistics,
        plot_covariance,
        plot_inputs,
        plot_rates,
        plot_training,
        plot_z,
    )
    from mnnbio.analyses.result_plots import plot_courses, plot_covariance_matrices, plot_rate_distribution
    from mnnbio.analyses.spike_plots import plot_psth, plot_raster
    from mnnbio.analyses.statistics_plots import (
        plot_correlation_histogram,
        plot_cross_correlogram,
        plot_power_spectra,
        plot_rate_estimate,
        plot_rate_histogram,
    )
    from mnnbio.analyses.table_plots import (
        plot_calibration,
        plot_confusions,
        plot_precision_recall,
        plot_residuals,
        plot_roc,
        plot_scores,
        plot_unit_states,
    )
    from mnnbio.analyses.task_page import task_report
    from mnnbio.analyses.weights import plot_weights
    from mnnbio.analyses.z_quantiles import plot_z_quantiles

__all__ = [
    "Comparison",
    "ComparisonWarning",
    "Plots",
    "SpikePairs",
    "SpikeTrains",
    "ablation_curve",
    "accuracy_against_time",
    "as_spikes",
    "attractor_separation",
    "avalanches",
    "binned_counts",
    "branching_ratio",
    "calibration_curve",
    "chance_match",
    "choice_probabilities",
    "class_scores",
    "classification",
    "compare",
    "compare_decoding",
    "compare_membrane",
    "condition_trajectories",
    "confusion_matrix",
    "correlation_distribution",
    "correlation_time",
    "count_correlations",
    "covariance_functions",
    "cross_correlogram",
    "current_balance",
    "current_correlation",
    "curve_difference",
    "curve_intervals",
    "discriminability",
    "distance_matrix",
    "dynamics",
    "fit_power_law",
    "interval_histogram_distance",
    "isi_distance",
    "kernel_rate",
    "kreuz_spike_distance",
    "learning_report",
    "lempel_ziv_complexity",
    "linear_decoder",
    "match_spikes",
    "match_spikes_least_shift",
    "mean_covariances",
    "membrane_statistics",
    "mode_activity",
    "mode_importance",
    "model_table",
    "multitaper_spectra",
    "network_state",
    "optimal_bandwidth",
    "orthogonal_coefficients",
    "oscillation",
    "participation_ratio",
    "phase_diagram",
    "plot_accuracy",
    "plot_avalanches",
    "plot_calibration",
    "plot_confusion",
    "plot_confusions",
    "plot_correlation_histogram",
    "plot_count_statistics",
    "plot_courses",
    "plot_covariance",
    "plot_covariance_matrices",
    "plot_cross_correlogram",
    "plot_currents",
    "plot_decoding",
    "plot_dimensions",
    "plot_discriminability",
    "plot_error_budget",
    "plot_inputs",
    "plot_intervals",
    "plot_learner_scores",
    "plot_learning_history",
    "plot_mode_importance",
    "plot_mode_trajectories",
    "plot_phase_diagram",
    "plot_population_rates",
    "plot_power_spectra",
    "plot_precision_recall",
    "plot_psth",
    "plot_raster",
    "plot_rate_distribution",
    "plot_rate_estimate",
    "plot_rate_histogram",
    "plot_rates",
    "plot_removal",
    "plot_residuals",
    "plot_response",
    "plot_roc",
    "plot_scores",
    "plot_separation",
    "plot_shared_moments",
    "plot_spectra",
    "plot_spike_match",
    "plot_stimuli",
    "plot_switch_success",
    "plot_training",
    "plot_tuning_curves",
    "plot_unit_states",
    "plot_voltages",
    "plot_weight_recovery",
    "plot_weights",
    "plot_z",
    "plot_z_quantiles",
    "population_covariances",
    "population_rates",
    "population_spectra",
    "power_laws",
    "precision_recall_curve",
    "predicted_accuracy",
    "principal_angles",
    "pruning_curve",
    "psth",
    "regression_scores",
    "report",
    "report_side_by_side",
    "roc_curve",
    "shared_dimensionality",
    "signal_and_noise_correlations",
    "significance",
    "smoothed_population_distance",
    "smoothed_train_distance",
    "spike_accuracy",
    "spike_distance",
    "spike_match",
    "spike_statistics",
    "spike_time_tiling",
    "spike_triggered_average",
    "spike_triggered_rate",
    "spike_triggered_voltage",
    "state_sentence",
    "step_response",
    "stored_readout",
    "surrogate_trains",
    "switch_success",
    "synchrony",
    "task_report",
    "tuning_curves",
    "unit_states",
    "van_rossum_distance",
    "victor_purpura_distance",
    "weight_recovery",
    "welch_spectra",
]


def __getattr__(name: str) -> Any:
    """Import the report or a figure at first use: Matplotlib takes most of a second to load."""
    if name in __all__ and (
        name in ("report", "report_side_by_side", "task_report", "learning_report") or name.startswith("plot_")
    ):
        from mnnbio.analyses import (
            budget_plots,
            decoding_plots,
            dynamics_plots,
            html_report,
            learner_scores,
            learning_page,
            learning_plots,
            membrane_plots,
            mode_plots,
            plots,
            result_plots,
            spike_plots,
            statistics_plots,
            table_plots,
            task_page,
            weights,
            z_quantiles,
        )

        modules = (
            html_report,
            plots,
            spike_plots,
            statistics_plots,
            dynamics_plots,
            membrane_plots,
            mode_plots,
            table_plots,
            weights,
            learning_plots,
            learner_scores,
            learning_page,
            task_page,
            z_quantiles,
            decoding_plots,
            result_plots,
            budget_plots,
        )
        return next(getattr(module, name) for module in modules if hasattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
