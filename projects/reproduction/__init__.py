"""The papers' tables: experiments, recorded results, and the page of both."""
