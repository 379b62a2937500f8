"""The frozen model as judge: does a drawn picture show a prompt?"""
