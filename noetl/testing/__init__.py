"""What tests of actors, engines and playbooks stand on: fakes, shipped. Time is virtual and waiting is for news."""
