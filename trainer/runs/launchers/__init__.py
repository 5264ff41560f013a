"""Where and when the jobs of a sweep run: processes of this machine, joblib, submitit (also Slurm) and Ray."""
