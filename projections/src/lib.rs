//! Pure folds.
