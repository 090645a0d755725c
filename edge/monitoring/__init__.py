"""How a station tells machines and people how it is: judged by one table of rules, served over HTTP."""
