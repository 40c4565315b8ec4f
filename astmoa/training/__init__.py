"""One trial: a frozen backbone, a graft and features in; one record per epoch and the tested best epoch out. No Ray,
no tracker."""
