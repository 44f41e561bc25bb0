"""A teacher's answers and a judge's levels, stored row by row so that a killed job resumes."""
