*** Settings ***
Documentation       Predictions and emulation against published measurements: one test per platform and network.
...
...                 What disagrees and why is documented in known.toml; such a test passes only while it disagrees so.

Library             hil.robot.CrossValidation
Library             hil.robot.ForEach    measured platform

Suite Setup         Predict Within Minutes
Test Timeout        5 minutes

Test Tags           cross-validation


*** Test Cases ***
${ITEM}, predicted
    [Tags]    each:measured
    Prediction Should Agree    ${ITEM}

${ITEM}, emulated
    [Tags]    each:emulated
    Emulation Should Agree    ${TARGET}    ${ITEM}

All networks together
    Platform As A Whole Should Agree


*** Keywords ***
Predict Within Minutes
    [Timeout]    5 minutes
    Predict All Measured Networks    ${TARGET}
